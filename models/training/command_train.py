"""Trains the command model, with checkpoints: a run that was stopped goes on where it was.

    python3 command_train.py WORK
"""

import itertools
import os
import queue
import sys
import threading
import time

import numpy as np

from speech_train import load, save

SEED = 13
PEAK_RATE = 6e-3
WARM_UP = 50
ADAM_SCALE = 0.5
TOKENS = 2560  # a batch
STEPS = 7000
DECAY_FROM = 1500
CHECKPOINT_EVERY = 100


def rate_at(step, decay_from, total):
    return PEAK_RATE * min(1, (step + 1) / WARM_UP) * min(1, max(0.005, (total - step) / (total - decay_from)))


def in_background(iterator, ahead=4):
    """The iterator's values, made by a thread."""
    made = queue.Queue(ahead)

    def work():
        for value in iterator:
            made.put(value)

    threading.Thread(target=work, daemon=True).start()
    return iter(made.get, None)


def train(work):
    import jax
    import jax.numpy as jnp

    import command_model
    import optimizer
    from command_data import batches, load_tokenizer, make_tokenizer, tokenizer_path

    jax.config.update("jax_compilation_cache_dir", os.path.join(work, "compiled"))
    if not os.path.exists(tokenizer_path(work)):
        make_tokenizer(work)
    tokenizer = load_tokenizer(work)
    path = os.path.join(work, "commands.checkpoint")
    if os.path.exists(path):
        params, state = jax.tree.map(jnp.array, load(path))
    else:
        params = command_model.new_params(jax.random.PRNGKey(SEED))
        state = optimizer.new_state(params)
    matrices = command_model.is_matrix(params)
    print(sum(leaf.size for leaf in jax.tree.leaves(params)), "parameters", flush=True)

    @jax.jit
    def step_once(params, state, batch, rate):
        (_, figures), gradients = jax.value_and_grad(command_model.loss, has_aux=True)(params, *batch)
        params, state = optimizer.updated(params, gradients, state, rate, matrices, ADAM_SCALE)
        return params, state, figures

    first, recent, began = int(state["steps"]), [], time.time()
    feed = in_background(itertools.islice(batches(tokenizer, SEED + first, TOKENS), STEPS))
    for step in range(first, STEPS):
        rate = rate_at(step, DECAY_FROM, STEPS)
        params, state, figures = step_once(params, state, next(feed), jnp.float32(rate))
        recent.append([float(figure) for figure in figures])
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == STEPS:
            value, wrong, ahead, back = np.mean(recent, 0)
            print(
                f"{step + 1} loss {value:.4f} wrong tokens {wrong:.5f} copying {ahead:.3f} looking back {back:.3f} rate {rate:.5f} {time.time() - began:.0f} s, "
                f"cpu {time.process_time():.0f} s",
                flush=True,
            )
            recent = []
            save(path, jax.tree.map(np.asarray, (params, state)))


if __name__ == "__main__":
    train(sys.argv[1])
