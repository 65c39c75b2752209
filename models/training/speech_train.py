"""Trains the speech model in stages, with checkpoints: a run that was stopped goes on where it was.

    python3 speech_train.py WORK

Stages go from short windows of commands to whole 30 s windows; the learning rate falls to zero at the end, which
halves the errors and is not optional.
"""

import dataclasses
import os
import pickle
import queue
import sys
import threading
import time

import numpy as np

from speech_data import load_vocabulary
from speech_windows import Corpus, batch

SEED = 20
ADAM_SCALE = 0.3
ENCODER_FRAMES = 3072  # a batch
CHECKPOINT_EVERY = 50


@dataclasses.dataclass(frozen=True)
class Stage:
    """`until` this step: how often each kind of window and each sort of text, and how much the helper losses count."""

    until: int
    kinds: dict
    mix: dict
    helpers: float


STAGES = [
    Stage(1200, {"short": 1.0}, {"command": 0.7, "free": 0.15, "salad": 0.15}, 1.0),
    Stage(1900, {"short": 0.8, "middle": 0.2}, {"command": 0.6, "free": 0.25, "salad": 0.15}, 0.6),
    Stage(2750, {"short": 0.72, "middle": 0.22, "full": 0.06}, {"command": 0.65, "free": 0.27, "salad": 0.08}, 0.3),
]
TOTAL = STAGES[-1].until
# Learning rate at steps, linear in between.
RATES = {0: 0.0, 100: 3e-3, 1700: 3e-3, TOTAL: 1e-5}


def rate_at(step):
    return np.interp(step + 1, list(RATES), list(RATES.values()))


def stage_at(step):
    return next((stage for stage in STAGES if step < stage.until), STAGES[-1])


def batches(corpus, first_step, ahead=3):
    """Batches from `first_step` on, composed by a thread; the same step always gets the same batch."""
    made = queue.Queue(ahead)

    def compose():
        step = first_step
        while True:
            rng, stage = np.random.default_rng((SEED, step)), stage_at(step)
            kind = rng.choice(list(stage.kinds), p=list(stage.kinds.values()))
            made.put(batch(rng, corpus, kind, stage.mix, ENCODER_FRAMES))
            step += 1

    threading.Thread(target=compose, daemon=True).start()
    while True:
        yield made.get()


def save(path, value):
    """Writes through a second file, so that a stop never leaves half a checkpoint."""
    with open(path + ".part", "wb") as file:
        pickle.dump(value, file, protocol=4)
    os.replace(path + ".part", path)


def load(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def train(work):
    import jax
    import jax.numpy as jnp

    import optimizer
    import speech_model

    jax.config.update("jax_compilation_cache_dir", os.path.join(work, "compiled"))
    vocabulary = load_vocabulary(work)
    corpus = Corpus(work, vocabulary)
    pronunciation = jnp.array(vocabulary.pronunciation)
    path = os.path.join(work, "speech.checkpoint")
    if os.path.exists(path):
        params, state = jax.tree.map(jnp.array, load(path))
    else:
        params = speech_model.new_params(jax.random.PRNGKey(SEED), vocabulary)
        state = optimizer.new_state(params)
    matrices = speech_model.is_matrix(params)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"{corpus.hours():.1f} hours, {len(vocabulary.words)} words, {size} parameters with helpers", flush=True)

    @jax.jit
    def step_once(params, state, data, rate, helpers):
        differentiated = jax.value_and_grad(speech_model.loss, has_aux=True)
        (_, figures), gradients = differentiated(params, data, pronunciation, helpers)
        params, state = optimizer.updated(params, gradients, state, rate, matrices, ADAM_SCALE)
        return params, state, figures

    first, recent, began = int(state["steps"]), [], time.time()
    feed = batches(corpus, first)
    for step in range(first, TOTAL):
        rate = jnp.float32(rate_at(step))
        params, state, figures = step_once(params, state, next(feed), rate, jnp.float32(stage_at(step).helpers))
        recent.append([float(figure) for figure in figures])
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == TOTAL:
            loss, right, phonemes, words, guide = np.mean(recent, 0)
            print(
                f"{step + 1} loss {loss:.3f} right {right:.3f} phonemes {phonemes:.3f} words {words:.3f} "
                f"guide {guide:.3f} rate {rate:.5f} {time.time() - began:.0f} s, cpu {time.process_time():.0f} s",
                flush=True,
            )
            recent = []
            save(path, jax.tree.map(np.asarray, (params, state)))


if __name__ == "__main__":
    train(sys.argv[1])
