"""A decoder layer of Llama's form in as few operations as it takes.

A model's own code writes a layer as some fifty small operations, each a few microseconds on the host whatever it
computes: in a small model they take as long as the products. Where a layer has the parts that Llama's has (and
Qwen2's, Mistral's, SmolLM's), and gives the same result on trial, it is replaced. On a CPU only.
"""

from __future__ import annotations

from typing import Protocol

import torch
from transformers import PreTrainedModel
from transformers.activations import SiLUActivation

from outrider_serving.engine.attention import PackedBatch, packed_attention
from outrider_serving.engine.fused_layers import Projection
from outrider_serving.engine.kv_cache import SequenceKV
from outrider_serving.engine.kv_pool import KVPool, KVShape
from outrider_serving.engine.rows import Rows

ATTENTION_PARTS = {"q_proj", "k_proj", "v_proj", "o_proj"}
MLP_PARTS = {"gate_proj", "up_proj", "down_proj", "act_fn"}
LAYER_PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
TRIAL_ROWS = 3
# Both round some dozen times; a layer that is another differs by as much as its values are.
MOST_DIFFERENCE = {torch.bfloat16: 0.03, torch.float32: 1e-4}


class Linear(Protocol):
    """A linear layer as this engine lays them: see `PackedLinear` and `Int8Linear`."""

    def __call__(self, rows: torch.Tensor) -> torch.Tensor: ...

    def plus(self, rows: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The product added to `residual`."""
        ...


class LeanLayer(torch.nn.Module):
    """hidden_states [1, rows, hidden] → the same shape; called as the model calls its own layer."""

    def __init__(self, layer: torch.nn.Module, window: int | None) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.norm_in: torch.nn.RMSNorm = layer.input_layernorm  # type: ignore[assignment]
        self._norm_mlp: torch.nn.RMSNorm = layer.post_attention_layernorm  # type: ignore[assignment]
        self._qkv: Linear = attention.q_proj.fused.product  # type: ignore[union-attr,assignment]
        self._out: Linear = attention.o_proj  # type: ignore[union-attr,assignment]
        self._gate_up: Linear = mlp.gate_proj.fused.product  # type: ignore[union-attr,assignment]
        self._down: Linear = mlp.down_proj  # type: ignore[union-attr,assignment]
        self.layer_idx: int = attention.layer_idx  # type: ignore[union-attr,assignment]
        self._head_dim: int = attention.head_dim  # type: ignore[union-attr,assignment]
        self._scaling: float = attention.scaling  # type: ignore[union-attr,assignment]
        self._window = window
        # What they give is added to the rows in the same product.
        self.added_products = (self._out, self._down)
        heads_of = {name: getattr(attention, name).out_features // self._head_dim for name in ("q_proj", "k_proj")}
        self._heads, self._kv_heads = heads_of["q_proj"], heads_of["k_proj"]

    def forward(
        self,
        hidden_states: torch.Tensor,
        *,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        packed: PackedBatch,
        **_: object,
    ) -> torch.Tensor:
        rows = hidden_states.shape[1]
        qkv = self._qkv(self.norm_in(hidden_states)).view(rows, -1, self._head_dim)
        turned = self._heads + self._kv_heads
        cos, sin = packed.rotary(position_embeddings)
        heads = qkv[:, :turned]
        heads = torch.addcmul(heads * cos, heads.roll(self._head_dim // 2, -1), sin).transpose(0, 1).unsqueeze(0)
        value = qkv[:, turned:].transpose(0, 1).unsqueeze(0)
        attended, _weights = packed_attention(
            self,
            heads[:, : self._heads],
            heads[:, self._heads :],
            value,
            None,
            packed=packed,
            scaling=self._scaling,
            sliding_window=self._window,
        )
        hidden_states = self._out.plus(attended.reshape(1, rows, -1), hidden_states)
        gate, up = self._gate_up(self._norm_mlp(hidden_states)).chunk(2, dim=-1)
        return self._down.plus(torch.nn.functional.silu(gate).mul_(up), hidden_states)


@torch.inference_mode()
def streamline(model: PreTrainedModel, shape: KVShape) -> None:
    """Replaces each decoder layer that has Llama's form and passes the trial. The model's products have been fused and
    laid out before.
    """
    decoder = model.get_decoder()
    layers = getattr(decoder, "layers", None)
    rotary = getattr(decoder, "rotary_emb", None)
    if layers is None or rotary is None:
        return
    trial = Trial(rotary, shape)
    for index, layer in enumerate(layers):
        if _has_llamas_form(layer):
            expected, window = trial.of(layer)
            lean = LeanLayer(layer, window)
            found, _ = trial.of(lean)
            if (found - expected).norm() <= MOST_DIFFERENCE[shape.dtype] * expected.norm():
                layers[index] = lean


def _has_llamas_form(layer: torch.nn.Module) -> bool:
    def parts(module: torch.nn.Module) -> set[str]:
        return {name for name, _ in module.named_children()}

    if parts(layer) != LAYER_PARTS:
        return False
    attention, mlp = layer.self_attn, layer.mlp
    assert isinstance(attention, torch.nn.Module)
    assert isinstance(mlp, torch.nn.Module)
    return (
        parts(attention) == ATTENTION_PARTS
        and parts(mlp) == MLP_PARTS
        and isinstance(attention.q_proj, Projection)
        and isinstance(mlp.gate_proj, Projection)
        and isinstance(mlp.act_fn, torch.nn.SiLU | SiLUActivation)
        and all(hasattr(linear, "plus") for linear in (attention.o_proj, mlp.down_proj))
        and all(isinstance(getattr(layer, name), torch.nn.RMSNorm) for name in LAYER_PARTS if name.endswith("norm"))
    )


class Trial:
    """Runs a layer over a few rows of noise, as the model would. `rotary`: the model's own module of embeddings."""

    def __init__(self, rotary: torch.nn.Module, shape: KVShape) -> None:
        self._rotary = rotary
        self._shape = shape

    def of(self, layer: torch.nn.Module) -> tuple[torch.Tensor, int | None]:
        """What it adds to the rows, float32, and the sliding window it asked for, which only its own code knows."""
        norm: torch.nn.RMSNorm = layer.norm_in if isinstance(layer, LeanLayer) else layer.input_layernorm  # type: ignore[assignment]
        noise = torch.randn(1, TRIAL_ROWS, norm.normalized_shape[0], generator=torch.Generator().manual_seed(0))
        hidden = noise.to(self._shape.dtype)
        positions = range(5, 5 + TRIAL_ROWS)
        kv = SequenceKV(KVPool(self._shape, blocks=1))
        kv.reserve(TRIAL_ROWS)
        batch = PackedBatch([Rows(kv, tokens=[0] * TRIAL_ROWS, positions=positions)])
        turns = self._rotary(hidden, torch.tensor([positions]))
        output: torch.Tensor = layer(hidden, position_embeddings=turns, packed=batch)
        (window,) = batch.windows
        return output.float() - hidden.float(), window
