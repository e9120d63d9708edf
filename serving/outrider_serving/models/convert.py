"""Makes a model folder that transformers loads in a second out of a GGUF file.

The folder holds bf16 safetensors, config, generation config, tokenizer and chat template: what a hub would
hold. Weights are dequantised one tensor at a time: the peak of memory is the bf16 model and one fp32 tensor.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import save_file
from transformers import GenerationConfig, LlamaConfig, PreTrainedConfig, Qwen2Config

from outrider_serving.models.cache import write_mark
from outrider_serving.models.catalogue import PackagedModel
from outrider_serving.models.metadata import field
from outrider_serving.models.vocabulary import build_tokenizer

CONFIGS: dict[str, Callable[..., PreTrainedConfig]] = {"llama": LlamaConfig, "qwen2": Qwen2Config}
CAUSAL_MODELS = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}

WHOLE_MODEL_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert(gguf: Path, target: Path, model: PackagedModel) -> None:
    """Writes `target` from `gguf`; it appears by rename, so that it is never there by halves.

    Raises ValueError when the file holds an architecture or a tensor that this release does not know.
    """
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        reader = GGUFReader(gguf)
        config = model_config(reader, tied_embeddings=model.tied_embeddings)
        tensors = dict(_tensors(reader, config))
        save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
        # safetensors writes for the owner alone; a mirror is read by other users too.
        (partial / "model.safetensors").chmod(0o644)
        config.save_pretrained(partial)
        tokenizer = build_tokenizer(reader, config.max_position_embeddings)
        tokenizer.save_pretrained(partial)
        _generation_config(reader, tokenizer.get_vocab()).save_pretrained(partial)
        write_mark(partial, model)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def model_config(reader: GGUFReader, *, tied_embeddings: bool) -> PreTrainedConfig:
    """The transformers config that the metadata describes."""
    arch = field(reader, "general.architecture")
    if arch not in CONFIGS:
        raise ValueError(f"architecture {arch} cannot be converted; this release knows {', '.join(CONFIGS)}")
    heads = field(reader, f"{arch}.attention.head_count")
    # The file keeps 32-bit floats: their shortest decimal is the number that was meant (1e-06).
    epsilon = float(str(np.float32(field(reader, f"{arch}.attention.layer_norm_rms_epsilon"))))
    return CONFIGS[arch](
        architectures=[CAUSAL_MODELS[arch]],
        dtype="bfloat16",
        vocab_size=len(field(reader, "tokenizer.ggml.tokens")),
        hidden_size=field(reader, f"{arch}.embedding_length"),
        intermediate_size=field(reader, f"{arch}.feed_forward_length"),
        num_hidden_layers=field(reader, f"{arch}.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=field(reader, f"{arch}.attention.head_count_kv"),
        max_position_embeddings=field(reader, f"{arch}.context_length"),
        rms_norm_eps=epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": field(reader, f"{arch}.rope.freq_base")},
        tie_word_embeddings=tied_embeddings,
        bos_token_id=field(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=field(reader, "tokenizer.ggml.eos_token_id"),
        pad_token_id=field(reader, "tokenizer.ggml.padding_token_id"),
    )


def _generation_config(reader: GGUFReader, vocabulary: dict[str, int]) -> GenerationConfig:
    # An instruct model ends a turn with its eos token and a text with <|endoftext|>: both are ends.
    ends = [field(reader, "tokenizer.ggml.eos_token_id")]
    if "<|endoftext|>" in vocabulary and vocabulary["<|endoftext|>"] not in ends:
        ends.append(vocabulary["<|endoftext|>"])
    return GenerationConfig(
        bos_token_id=field(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=ends,
        pad_token_id=field(reader, "tokenizer.ggml.padding_token_id"),
    )


def _tensors(reader: GGUFReader, config: PreTrainedConfig) -> Iterator[tuple[str, torch.Tensor]]:
    stored = {tensor.name: tensor for tensor in reader.tensors}
    if config.tie_word_embeddings and "output.weight" in stored:
        # The original has one matrix; the file quantises it twice, more finely for the output: keep that.
        stored["token_embd.weight"] = stored.pop("output.weight")
    for name, tensor in stored.items():
        weights = dequantize(tensor.data, tensor.tensor_type)
        if config.model_type == "llama" and ".attn_q." in name:
            weights = _split_halves(weights, config.num_attention_heads)
        elif config.model_type == "llama" and ".attn_k." in name:
            weights = _split_halves(weights, config.num_key_value_heads)
        # A copy, because the reader's own arrays are a read-only view of the file.
        yield transformers_name(name), torch.from_numpy(np.array(weights, order="C")).to(torch.bfloat16)


def transformers_name(name: str) -> str:
    """What transformers calls the GGUF tensor `name`; raises ValueError for one it has no place for."""
    stem, _, suffix = name.rpartition(".")
    if stem in WHOLE_MODEL_NAMES:
        return f"{WHOLE_MODEL_NAMES[stem]}.{suffix}"
    layer = re.fullmatch(r"blk\.(\d+)\.(\w+)", stem)
    if layer is None or layer[2] not in LAYER_NAMES:
        raise ValueError(f"tensor {name} has no place in a llama or qwen2 model; the file cannot be converted")
    return f"model.layers.{layer[1]}.{LAYER_NAMES[layer[2]]}.{suffix}"


def _split_halves(weights: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Undoes llama.cpp's interleaving of rotary pairs: transformers rotates the halves of a head."""
    pairs = weights.shape[0] // heads // 2
    return weights.reshape(heads, pairs, 2, -1).swapaxes(1, 2).reshape(weights.shape)
