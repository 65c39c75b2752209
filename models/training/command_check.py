"""Checks the command model without any program: exact answers on the held-out commands, and answers to single prompts.

    python3 command_check.py WORK [GGUF]

With GGUF, the weights are those of the file, so that the loss from quantisation shows; otherwise the checkpoint's.
Greedy decoding gives exactly the expected answer if and only if every token of it is the likeliest one after the right
ones before it. So one pass over prompt and answer together decides it.
"""

import os
import sys

import gguf
import jax
import jax.numpy as jnp
import numpy as np

import command_data as data
import command_model as model
from command_export import LAYER_NAMES
from evaluation_data import PROMPTS
from speech_train import load

LONGEST = 192
BATCH = 50


def gguf_params(path):
    """The parameter tree of a GGUF file, f32."""
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).reshape(t.shape[::-1]) for t in gguf.GGUFReader(path).tensors}

    def layer(i):
        named = {ours: tensors[f"blk.{i}.{theirs}.weight"] for ours, theirs in LAYER_NAMES.items()}
        return {name: jnp.array(array.T) for name, array in named.items()}

    layers = [layer(i) for i in range(model.LAYERS)]
    return {"embedding": jnp.array(tensors["token_embd.weight"]), "norm": jnp.array(tensors["output_norm.weight"]), "layers": layers}


def checkpoint_params(work):
    return jax.tree.map(jnp.array, load(os.path.join(work, "commands.checkpoint"))[0])


@jax.jit
def likeliest(params, ids):
    """The likeliest next token at every place, [B, T]."""
    return (model.hidden(params, ids) @ params["embedding"].T).argmax(-1)


def exact(params, tokenizer, cases):
    """For each {"prompt", "expected"}: does greedy decoding give exactly that?"""
    right = []
    for first in range(0, len(cases), BATCH):
        part = cases[first : first + BATCH]
        ids, judged = np.zeros((BATCH, LONGEST), np.int32), np.zeros((BATCH, LONGEST), bool)
        for row, case in enumerate(part):
            prompt = data.prompt_ids(tokenizer, case["prompt"])
            answer = tokenizer.encode(case["expected"]) + [data.END_OF_TURN]
            ids[row, : len(prompt) + len(answer)] = prompt + answer
            judged[row, len(prompt) - 1 : len(prompt) + len(answer) - 1] = True
        after = np.roll(ids, -1, 1)
        same = (np.asarray(likeliest(params, jnp.array(ids))) == after) | ~judged
        right += same.all(1)[: len(part)].tolist()
    return right


def answer(params, tokenizer, text):
    """Greedy decoding of one prompt, the slow and simple way."""
    ids = data.prompt_ids(tokenizer, text)
    start = len(ids)
    while len(ids) < LONGEST:
        padded = jnp.array([ids + [0] * (LONGEST - len(ids))])
        token = int(likeliest(params, padded)[0, len(ids) - 1])
        if token == data.END_OF_TURN:
            break
        ids.append(token)
    return tokenizer.decode(ids[start:])


def checkpoint_answers(work):
    params, tokenizer = checkpoint_params(work), data.load_tokenizer(work)
    return lambda text: answer(params, tokenizer, text)


def main():
    work, *path = sys.argv[1:]
    params, tokenizer = gguf_params(path[0]) if path else checkpoint_params(work), data.load_tokenizer(work)
    cases = data.held_out_examples(PROMPTS)
    right = exact(params, tokenizer, cases)
    several = [ok for ok, case in zip(right, cases) if case["expected"][0] == "["]
    print(f"exact {sum(right) / len(right):.4f} of {len(right)}; several commands {sum(several) / len(several):.4f} of {len(several)}")
    for case in [case for ok, case in zip(right, cases) if not ok][:12]:
        print(case["prompt"], "|", case["expected"], "|", answer(params, tokenizer, case["prompt"]))


if __name__ == "__main__":
    main()
