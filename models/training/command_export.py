"""Writes the command model as a GGUF file with its tokenizer and its ChatML template.

    python3 command_export.py WORK TO [f16 | q8_0]
"""

import os
import sys

import gguf
import numpy as np

import command_data as data
import command_model as model
from speech_train import load

KINDS = {"f16": gguf.GGMLQuantizationType.F16, "q8_0": gguf.GGMLQuantizationType.Q8_0}
FILE_TYPES = {"f16": gguf.LlamaFileType.MOSTLY_F16, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}
LAYER_NAMES = {
    "norm1": "attn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "norm2": "ffn_norm",
    "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip


def add_tokenizer(writer, tokenizer):
    control = {data.BEGIN, data.END_OF_TEXT, data.START_OF_TURN, data.END_OF_TURN}

    def kind(i):
        if i == data.UNKNOWN:
            return gguf.TokenType.UNKNOWN
        if i in control:
            return gguf.TokenType.CONTROL
        return gguf.TokenType.BYTE if tokenizer.is_byte(i) else gguf.TokenType.NORMAL

    ids = range(data.VOCABULARY)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([tokenizer.id_to_piece(i).encode() for i in ids])
    writer.add_token_scores([tokenizer.get_score(i) for i in ids])
    writer.add_token_types([int(kind(i)) for i in ids])
    writer.add_bos_token_id(data.BEGIN)
    writer.add_eos_token_id(data.END_OF_TURN)
    writer.add_eot_token_id(data.END_OF_TURN)
    writer.add_unk_token_id(data.UNKNOWN)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(data.CHAT_TEMPLATE)


def add_shape(writer):
    writer.add_context_length(model.CONTEXT)
    writer.add_embedding_length(model.D)
    writer.add_block_count(model.LAYERS)
    writer.add_feed_forward_length(model.FEED_FORWARD)
    writer.add_head_count(model.HEADS)
    writer.add_head_count_kv(model.HEADS)
    writer.add_layer_norm_rms_eps(model.EPSILON)
    writer.add_rope_freq_base(model.ROPE_BASE)
    writer.add_rope_dimension_count(model.HEAD)
    writer.add_vocab_size(data.VOCABULARY)


def add_tensor(writer, name, array, kind):
    array = np.ascontiguousarray(array, np.float32)
    if array.ndim == 1:
        writer.add_tensor(name, array)
    else:
        writer.add_tensor(name, gguf.quants.quantize(array, KINDS[kind]), raw_dtype=KINDS[kind])


def write(path, params, tokenizer, kind):
    writer = gguf.GGUFWriter(path + ".part", "llama")
    writer.add_name("intents-en")
    writer.add_description("Turns English voice commands into JSON intents; a demonstration model")
    writer.add_license("MIT OR Apache-2.0")
    add_shape(writer)
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_tokenizer(writer, tokenizer)
    add_tensor(writer, "token_embd.weight", params["embedding"], kind)
    add_tensor(writer, "output_norm.weight", params["norm"], kind)
    for i, layer in enumerate(params["layers"]):
        for ours, theirs in LAYER_NAMES.items():
            matrix = layer[ours] if layer[ours].ndim == 1 else layer[ours].T
            add_tensor(writer, f"blk.{i}.{theirs}.weight", matrix, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(path + ".part", path)


def export(work, path, kind="q8_0"):
    params, _ = load(os.path.join(work, "commands.checkpoint"))
    write(path, params, data.load_tokenizer(work), kind)
    print(f"{path}: {os.path.getsize(path)} bytes", flush=True)


if __name__ == "__main__":
    export(*sys.argv[1:])
