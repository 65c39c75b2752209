"""The command model: llama's architecture in JAX. Shapes: B conversations, T tokens, D channels, V tokens."""

import jax
import jax.numpy as jnp

from command_data import VOCABULARY

D = 128
LAYERS = 4
HEADS = 4
HEAD = D // HEADS
FEED_FORWARD = 352
ROPE_BASE = 10000.0
EPSILON = 1e-5
CONTEXT = 512
GUIDED_LAYERS = (2, 3)
GUIDE = 0.15
MATRICES = {"q": (D, D, 1.0), "k": (D, D, 1.0), "v": (D, D, 1.0), "o": (D, D, 0.5), "gate": (D, FEED_FORWARD, 1.0),
            "up": (D, FEED_FORWARD, 1.0), "down": (FEED_FORWARD, D, 0.5)}  # fmt: skip


def new_params(key):
    """Random parameters, f32; matrices are [inputs, outputs]; the output is tied to the embedding."""
    keys = iter(jax.random.split(key, 1 + LAYERS * len(MATRICES)))

    def layer():
        matrices = {
            name: jax.random.normal(next(keys), (rows, columns)) * 0.06 * gain for name, (rows, columns, gain) in MATRICES.items()
        }
        return matrices | {"norm1": jnp.ones(D), "norm2": jnp.ones(D)}

    embedding = jax.random.normal(next(keys), (VOCABULARY, D)) * 0.05
    return {"embedding": embedding, "norm": jnp.ones(D), "layers": [layer() for _ in range(LAYERS)]}


def is_matrix(params):
    """For each leaf in order: does it take Muon?"""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return [leaf.ndim == 2 and path[0].key == "layers" for path, leaf in leaves]


def normed(x, weight):
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + EPSILON) * weight


def rotated(x):
    """Rotary positions on interleaved pairs, as llama.cpp's "llama" has them: x [B, T, HEADS, HEAD]."""
    angle = jnp.arange(x.shape[1])[:, None] * ROPE_BASE ** (-jnp.arange(0, HEAD, 2) / HEAD)
    cos, sin = jnp.cos(angle)[:, None], jnp.sin(angle)[:, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)


def hidden(params, ids):
    """ids [B, T] -> [B, T, D], ready for the tied output."""
    return hidden_and_attention(params, ids)[0]


def hidden_and_attention(params, ids):
    """The same, and the attention of each layer, [B, HEADS, T, T]."""
    batch, length = ids.shape
    x = params["embedding"][ids]
    mask = jnp.tril(jnp.ones((length, length), bool))
    split = lambda y: y.reshape(batch, length, HEADS, HEAD)
    attention = []
    for layer in params["layers"]:
        h = normed(x, layer["norm1"])
        query, key = rotated(split(h @ layer["q"])).transpose(0, 2, 1, 3), rotated(split(h @ layer["k"])).transpose(0, 2, 3, 1)
        value = split(h @ layer["v"]).transpose(0, 2, 1, 3)
        weight = jax.nn.softmax(jnp.where(mask, query * HEAD**-0.5 @ key, -1e9), -1)
        attention.append(weight)
        x = x + (weight @ value).transpose(0, 2, 1, 3).reshape(batch, length, D) @ layer["o"]
        h = normed(x, layer["norm2"])
        x = x + (jax.nn.silu(h @ layer["gate"]) * (h @ layer["up"])) @ layer["down"]
    return normed(x, params["norm"]), attention


def far_from(weight):
    return -jnp.log(1e-4 + weight)


def copying(attention, sources):
    """How far the guided layers' first heads are from looking at the token that is copied next."""
    place = sources[:, 1:, None]
    missed = [far_from(jnp.take_along_axis(attention[i][:, 0], place, 2)[..., 0]) for i in GUIDED_LAYERS]
    copied = sources[:, 1:] > 0
    return sum((miss * copied).sum() for miss in missed) / jnp.maximum(copied.sum(), 1)


def looking_back(attention):
    """How far two heads of the first layer are from looking at the last token and at the one before."""
    steps_back = [jnp.diagonal(attention[0][:, head], offset=-head, axis1=1, axis2=2) for head in (1, 2)]
    return sum(far_from(weight).mean() for weight in steps_back)


def loss(params, ids, sources, places, weights):
    """Weighted cross entropy at `places` of the flattened [B, T - 1] targets plus the guide for copying; and figures.

    The guide is what makes copying in order appear early; without it the model answers with the right words in any
    order for long. To copy what comes next, a place must know what came before it: hence the heads that look back.
    """
    states, attention = hidden_and_attention(params, ids[:, :-1])
    states, target = states.reshape(-1, D)[places], ids[:, 1:].ravel()[places]
    logits = states @ params["embedding"].T
    nll = -jnp.take_along_axis(jax.nn.log_softmax(logits, -1), target[:, None], -1)[:, 0]
    answers = weights == 1
    wrong = ((logits.argmax(-1) != target) * answers).sum() / answers.sum()
    ahead, back = copying(attention, sources), looking_back(attention)
    return (nll * weights).sum() / weights.sum() + GUIDE * (ahead + back), ((nll * answers).sum() / answers.sum(), wrong, ahead, back)
