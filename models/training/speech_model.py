"""The speech model: whisper's architecture in JAX, small, with training helpers that the export drops.

Shapes: B windows, F mel frames (100 a second), S = F/2 encoder frames (50 a second), T tokens, D channels, V tokens.
Token ids here are dense: words, then the four specials, then timestamps; speech_export.py moves them to
whisper's places.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

D = 128
HEADS = 4
HEAD = D // HEADS
ENCODER_LAYERS = 4
DECODER_LAYERS = 3  # whisper.cpp takes a model with exactly two for a distilled one and drops timestamps
AUDIO_CONTEXT = 1500
TEXT_CONTEXT = 256
MELS = 80
TIMESTAMPS = 301  # 0.0 to 30.0 s in steps of 0.1 s: every fifth of whisper's
SPECIALS = ("end", "start", "previous", "no_speech")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Words and phonemes the model knows, and how the words are pronounced."""

    words: list  # [n_words] str
    phonemes: list  # [n_phonemes] str, 0 is silence
    pronunciation: np.ndarray  # [n_words, n_features] f32, unit rows

    @property
    def end(self):
        return len(self.words)

    @property
    def start(self):
        return len(self.words) + 1

    @property
    def previous(self):
        return len(self.words) + 2

    @property
    def no_speech(self):
        return len(self.words) + 3

    @property
    def first_timestamp(self):
        return len(self.words) + 4


def sinusoids(length, channels):
    """Whisper's fixed positions, [length, channels] f32."""
    step = np.log(10000) / (channels // 2 - 1)
    angle = np.arange(length)[:, None] * np.exp(-step * np.arange(channels // 2))
    return np.concatenate([np.sin(angle), np.cos(angle)], 1).astype(np.float32)


def timestamp_features():
    """Fourier features of the timestamps, [TIMESTAMPS, n] f32: neighbours start out alike, which is learned faster."""
    time = np.arange(TIMESTAMPS)
    waves = [wave(2 * np.pi * time / period) for period in (10, 20, 40, 80, 160, 320, 640) for wave in (np.sin, np.cos)]
    return np.concatenate([np.ones((TIMESTAMPS, 1)), sinusoids(TIMESTAMPS, 32), np.stack(waves, 1)], 1).astype(np.float32)


AUDIO_POSITIONS = sinusoids(AUDIO_CONTEXT, D)
TIMESTAMP_FEATURES = timestamp_features()


def new_params(key, vocabulary):
    """Random parameters, a tree of f32 arrays. Matrices are [inputs, outputs]; convolutions are [taps * inputs, outputs]."""
    keys = iter(jax.random.split(key, 256))

    def normal(*shape, scale):
        return jax.random.normal(next(keys), shape) * scale

    def linear(inputs, outputs, gain=1.0):
        return {"w": normal(inputs, outputs, scale=gain * inputs**-0.5), "b": jnp.zeros(outputs)}

    def norm():
        return {"w": jnp.ones(D), "b": jnp.zeros(D)}

    def attention():
        return {"q": linear(D, D), "k": normal(D, D, scale=D**-0.5), "v": linear(D, D), "o": linear(D, D, 0.3)}

    def block(crossed):
        own = {"norm1": norm(), "attention": attention(), "norm2": norm(), "up": linear(D, 4 * D), "down": linear(4 * D, D, 0.3)}
        return own | ({"cross_norm": norm(), "cross": attention()} if crossed else {})

    return {
        "conv1": linear(3 * MELS, D, 1.4),
        "conv2": linear(3 * D, D, 1.4),
        "encoder": [block(False) for _ in range(ENCODER_LAYERS)],
        "encoder_norm": norm(),
        "embedding": normal(len(vocabulary.words) + len(SPECIALS), D, scale=0.05),
        "pronunciation": normal(vocabulary.pronunciation.shape[1], D, scale=0.08),
        "timestamps": normal(TIMESTAMP_FEATURES.shape[1], D, scale=0.04),
        "text_positions": jnp.array(sinusoids(TEXT_CONTEXT, D)) * 0.2,
        "decoder": [block(True) for _ in range(DECODER_LAYERS)],
        "decoder_norm": norm(),
        "phoneme_head": linear(D, len(vocabulary.phonemes)),
        "word_head": linear(D, D),
    }


def is_matrix(params):
    """For each leaf in order: does it take Muon?"""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    grouped = {"encoder", "decoder", "conv1", "conv2", "word_head"}
    return [leaf.ndim == 2 and path[0].key in grouped for path, leaf in leaves]


def normed(x, p):
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["w"] + p["b"]


def linear(x, p):
    return x @ p["w"] + p["b"]


@jax.custom_vjp
def attention_core(query, key, value):
    """softmax(query key^T) value over [B, HEADS, T or S, HEAD]."""
    return _attention_forward(query, key, value)[0]


def _attention_forward(query, key, value):
    weight = jax.nn.softmax(query @ key.transpose(0, 1, 3, 2), -1)
    mixed = weight @ value
    return mixed, (query, key, value, weight, mixed)


def _attention_backward(kept, gradient):
    """By hand, because XLA's own derivative of softmax takes twice as long on a CPU."""
    query, key, value, weight, mixed = kept
    towards = gradient @ value.transpose(0, 1, 3, 2)
    score = weight * (towards - (gradient * mixed).sum(-1, keepdims=True))
    return score @ key, score.transpose(0, 1, 3, 2) @ query, weight.transpose(0, 1, 3, 2) @ gradient


attention_core.defvjp(_attention_forward, _attention_backward)


def heads(x):
    """[B, T, D] -> [B, HEADS, T, HEAD]."""
    return x.reshape(*x.shape[:2], HEADS, HEAD).transpose(0, 2, 1, 3)


def joined(x):
    """[B, HEADS, T, HEAD] -> [B, T, D]."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], D)


def projected(x, source, p):
    """Query, key and value of attention from x [B, T, D] to source [B, S, D]. Whisper's keys have no bias."""
    return heads(linear(x, p["q"]) * HEAD**-0.5), heads(source @ p["k"]), heads(linear(source, p["v"]))


def attend(x, source, p):
    """Multi-head attention of x [B, T, D] over source [B, S, D], unmasked."""
    return linear(joined(attention_core(*projected(x, source, p))), p["o"])


def attend_visibly(x, source, p, mask=None):
    """The same with a mask; also returns the weights [B, HEADS, T, S]."""
    query, key, value = projected(x, source, p)
    score = query @ key.transpose(0, 1, 3, 2)
    if mask is not None:
        score = jnp.where(mask, score, -1e9)
    weight = jax.nn.softmax(score, -1)
    return linear(joined(weight @ value), p["o"]), weight


def feed_forward(x, block):
    return linear(jax.nn.gelu(linear(normed(x, block["norm2"]), block["up"]), approximate=True), block["down"])


def convolved(x, p, stride):
    """Convolution over time with three taps, one frame of zeros at each end, then GELU: [B, F, C] to [B, F / stride, D]."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
    length = x.shape[1]
    taps = [padded[:, tap : tap + length : stride] for tap in range(3)]
    return jax.nn.gelu(linear(jnp.concatenate(taps, -1), p), approximate=True)


def encode(params, mel, offset):
    """mel [B, F, MELS], offset [B] = first position of the window -> encoder output [B, S, D] and its second layer's."""
    x = convolved(convolved(mel, params["conv1"], 1), params["conv2"], 2)
    frames = x.shape[1]
    positions = jnp.array(AUDIO_POSITIONS)
    x = x + jax.vmap(lambda at: jax.lax.dynamic_slice(positions, (at, 0), (frames, D)))(offset)
    middle = None
    for i, block in enumerate(params["encoder"]):
        h = normed(x, block["norm1"])
        x = x + attend(h, h, block["attention"])
        x = x + feed_forward(x, block)
        middle = x if i == 1 else middle
    return normed(x, params["encoder_norm"]), middle


def token_table(params, pronunciation):
    """Embeddings of all tokens, [V, D]: a word's is its own vector plus a projection of how it sounds."""
    words = params["embedding"].at[: pronunciation.shape[0]].add(pronunciation @ params["pronunciation"])
    return jnp.concatenate([words, jnp.array(TIMESTAMP_FEATURES) @ params["timestamps"]], 0)


def decode(params, tokens, encoded, table):
    """tokens [B, T] -> logits [B, T, V] and the cross attention of each layer."""
    length = tokens.shape[1]
    x = table[tokens] + params["text_positions"][:length]
    mask = jnp.tril(jnp.ones((length, length), bool))
    crossed = []
    for block in params["decoder"]:
        h = normed(x, block["norm1"])
        x = x + attend_visibly(h, h, block["attention"], mask)[0]
        y, weight = attend_visibly(normed(x, block["cross_norm"]), encoded, block["cross"])
        crossed.append(weight)
        x = x + y
        x = x + feed_forward(x, block)
    # Channel 0 is constant one, so that the export can silence unused vocabulary rows with -30 in channel 0.
    x = normed(x, params["decoder_norm"]).at[..., 0].set(1.0)
    return x @ table.T, crossed


def cross_entropy(logits, target):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits, -1), target[..., None], -1)[..., 0]


def mean_where(value, condition):
    return (value * condition).sum() / jnp.maximum(condition.sum(), 1)


def loss(params, batch, pronunciation, helper_weight):
    """Training loss and a tuple of figures to print.

    Next token with label smoothing, plus three helpers that teach the alignment early: phonemes from the second
    encoder layer, the word at one frame inside each word, and cross attention that stays inside the word's span.
    batch: mel [B, F, MELS], offset [B], phonemes [B, S] (-1 = unknown), tokens, target, weight [B, T],
    span [B, T, 2] and frame [B, T] in encoder frames (span 0, 0 = not a word).
    """
    n_words = pronunciation.shape[0]
    encoded, middle = encode(params, batch["mel"], batch["offset"])
    table = token_table(params, pronunciation)
    logits, crossed = decode(params, batch["tokens"], encoded, table)
    log_p = jax.nn.log_softmax(logits, -1)
    target, weight = batch["target"], batch["weight"]
    nll = -jnp.take_along_axis(log_p, target[..., None], -1)[..., 0]
    tokens = mean_where(0.95 * nll - 0.01 * log_p.mean(-1), weight)
    right = mean_where(logits.argmax(-1) == target, weight)

    phoneme_logits = linear(middle, params["phoneme_head"])
    phonemes = mean_where(cross_entropy(phoneme_logits, jnp.maximum(batch["phonemes"], 0)), batch["phonemes"] >= 0)

    is_word = batch["span"][..., 1] > 0
    at_word = jnp.take_along_axis(encoded, batch["frame"][..., None], 1)
    word_logits = linear(at_word, params["word_head"]) @ table[:n_words].T
    words = mean_where(cross_entropy(word_logits, jnp.minimum(target, n_words - 1)), is_word)

    frame = jnp.arange(encoded.shape[1])
    inside = (frame >= batch["span"][..., :1]) & (frame < batch["span"][..., 1:])
    # Two of the four heads are guided, the others are free.
    on_span = sum(jnp.log(1e-4 + (w[:, :2] * inside[:, None]).sum(-1)) for w in crossed)
    guide = -mean_where(on_span.mean(1), is_word)

    total = tokens + helper_weight * (0.4 * phonemes + words + 0.2 * guide)
    return total, (mean_where(nll, weight), right, phonemes, words, guide)
