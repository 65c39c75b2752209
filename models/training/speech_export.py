"""Writes the speech model as a whisper.cpp file (ggml, English layout).

    python3 speech_export.py WORK TO [f16 | q5_0 | q8_0]

Tokens move to whisper's places: words from id 0 on, specials and timestamps where the English models of 51,864 tokens
have them. All other rows of the table are -30 in channel 0, which the final norm makes a constant one: they never win.
"""

import os
import struct
import sys

import gguf
import numpy as np

import speech_model as model
from features import FILTERS
from speech_data import load_vocabulary
from speech_train import load

MAGIC = 0x67676D6C
ROWS = 51864
END, START, PREVIOUS, NO_SPEECH, FIRST_TIMESTAMP = 50256, 50257, 50360, 50361, 50363
TIMESTAMP_STRIDE = 5  # whisper has one every 0.02 s
NEVER = -30.0
F32, F16 = 0, 1
QUANTISED = {"q5_0": gguf.GGMLQuantizationType.Q5_0, "q8_0": gguf.GGMLQuantizationType.Q8_0}
FILE_TYPES = {"f16": 1, "q8_0": 2007, "q5_0": 2008}  # the thousands are the version of the quantisation formats


def token_table(params, vocabulary):
    """[ROWS, D] f32."""
    words = len(vocabulary.words)
    learned = np.array(params["embedding"])
    learned[:words] += vocabulary.pronunciation @ params["pronunciation"]
    rows = np.zeros((ROWS, model.D), np.float32)
    rows[:, 0] = NEVER
    rows[:words] = learned[:words]
    for place, token in ((END, "end"), (START, "start"), (PREVIOUS, "previous"), (NO_SPEECH, "no_speech")):
        rows[place] = learned[getattr(vocabulary, token)]
    timestamps = model.TIMESTAMP_FEATURES @ params["timestamps"]
    rows[FIRST_TIMESTAMP : FIRST_TIMESTAMP + TIMESTAMP_STRIDE * model.TIMESTAMPS : TIMESTAMP_STRIDE] = timestamps
    return rows


def tensors(params, vocabulary):
    """{whisper's name: f32 array in whisper's shape}; matrices turn from [inputs, outputs] to [outputs, inputs]."""
    out = {}

    def norm(name, p):
        out[name + ".weight"], out[name + ".bias"] = p["w"], p["b"]

    def linear(name, p):
        out[name + ".weight"], out[name + ".bias"] = p["w"].T, p["b"]

    def convolution(name, p):
        taps = p["w"].reshape(3, -1, model.D).transpose(2, 1, 0)
        out[name + ".weight"], out[name + ".bias"] = taps, p["b"][:, None]

    def attention(name, p):
        out[name + ".key.weight"] = p["k"].T
        for whisper, ours in (("query", "q"), ("value", "v"), ("out", "o")):
            linear(f"{name}.{whisper}", p[ours])

    def block(name, p):
        norm(name + ".attn_ln", p["norm1"])
        attention(name + ".attn", p["attention"])
        if "cross" in p:
            norm(name + ".cross_attn_ln", p["cross_norm"])
            attention(name + ".cross_attn", p["cross"])
        norm(name + ".mlp_ln", p["norm2"])
        linear(name + ".mlp.0", p["up"])
        linear(name + ".mlp.2", p["down"])

    out["encoder.positional_embedding"] = model.AUDIO_POSITIONS
    convolution("encoder.conv1", params["conv1"])
    convolution("encoder.conv2", params["conv2"])
    for i, p in enumerate(params["encoder"]):
        block(f"encoder.blocks.{i}", p)
    norm("encoder.ln_post", params["encoder_norm"])
    out["decoder.positional_embedding"] = params["text_positions"]
    out["decoder.token_embedding.weight"] = token_table(params, vocabulary)
    for i, p in enumerate(params["decoder"]):
        block(f"decoder.blocks.{i}", p)
    last = {"w": params["decoder_norm"]["w"].copy(), "b": params["decoder_norm"]["b"].copy()}
    last["w"][0], last["b"][0] = 0, 1
    norm("decoder.ln", last)
    return out


def stored(name, array, kind):
    """(ggml type, bytes): matrices in `kind`, convolutions in f16, the rest in f32, as whisper.cpp expects them."""
    array = np.ascontiguousarray(array, np.float32)
    if array.ndim == 1 or "positional" in name or name.endswith("bias"):
        return F32, array.astype("<f4").tobytes()
    if kind == "f16" or array.ndim == 3:
        return F16, array.astype("<f2").tobytes()
    return int(QUANTISED[kind]), gguf.quants.quantize(array, QUANTISED[kind]).tobytes()


def write(path, params, vocabulary, kind):
    header = [
        MAGIC, ROWS, model.AUDIO_CONTEXT, model.D, model.HEADS, model.ENCODER_LAYERS, model.TEXT_CONTEXT, model.D, model.HEADS,
        model.DECODER_LAYERS, model.MELS, FILE_TYPES[kind],
    ]  # fmt: skip
    # whisper.cpp looks up " " when it suppresses a blank at the start.
    tokens = [" " + word for word in vocabulary.words] + [" "]
    with open(path + ".part", "wb") as file:
        file.write(struct.pack("<12i", *header))
        file.write(struct.pack("<2i", *FILTERS.shape) + FILTERS.astype("<f4").tobytes())
        file.write(struct.pack("<i", len(tokens)))
        for token in tokens:
            file.write(struct.pack("<i", len(token.encode())) + token.encode())
        for name, array in tensors(params, vocabulary).items():
            ggml_type, data = stored(name, array, kind)
            shape = array.shape[::-1]
            file.write(struct.pack("<3i", len(shape), len(name), ggml_type) + struct.pack(f"<{len(shape)}i", *shape))
            file.write(name.encode() + data)
    os.replace(path + ".part", path)


def export(work, path, kind="q5_0"):
    params, _ = load(os.path.join(work, "speech.checkpoint"))
    write(path, params, load_vocabulary(work), kind)
    print(f"{path}: {os.path.getsize(path)} bytes", flush=True)


if __name__ == "__main__":
    export(*sys.argv[1:])
