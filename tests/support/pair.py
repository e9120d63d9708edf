"""The random pair R: a seeded Llama of four layers, and its first layer as the draft. Built in milliseconds,
and never loops.

The residual branches of the target's later layers are scaled by `distance`: 0 makes draft and target agree
always, 0.1 about 2.8 tokens a step in a chain of four, 0.4 about 1.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from outrider_serving.engine.attention import ATTENTION
from outrider_serving.engine.model_runner import ModelRunner
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

VOCABULARY = 256


@dataclass(frozen=True)
class Pair:
    target: ModelRunner
    draft: ModelRunner


def random_llama(
    layers: int,
    distance: float = 1.0,
    seed: int = 0,
    attention: str = ATTENTION,
    vocabulary: int = VOCABULARY,
    heads: int = 4,
    kv_heads: int = 2,
) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=16 * heads,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=1024,
        initializer_range=0.3,
    )
    config._attn_implementation = attention
    model = LlamaForCausalLM(config)
    model.eval()
    with torch.no_grad():
        for layer in model.model.layers[1:]:
            layer.self_attn.o_proj.weight.mul_(distance)
            layer.mlp.down_proj.weight.mul_(distance)
    return model


def first_layers(model: LlamaForCausalLM, layers: int) -> LlamaForCausalLM:
    """A draft that is the first layers of `model`."""
    config = LlamaConfig.from_dict(model.config.to_dict() | {"num_hidden_layers": layers})
    config._attn_implementation = model.config._attn_implementation
    draft = LlamaForCausalLM(config)
    draft.eval()
    draft.load_state_dict(model.state_dict(), strict=False)
    return draft


def poison(model: PreTrainedModel, token: int) -> None:
    """From now on the model makes no numbers of `token`, nor of what follows it."""
    embeddings = model.get_input_embeddings().weight
    assert isinstance(embeddings, torch.nn.Parameter)
    with torch.no_grad():
        embeddings[token] = torch.nan


def random_pair(distance: float, seed: int = 0) -> Pair:
    target = random_llama(4, distance, seed)
    draft = first_layers(target, 1)  # before a runner lays the target's weights as its machine reads them
    return Pair(ModelRunner(target), ModelRunner(draft))
