"""A model of Llama's form written out by hand: what the engine's general forward is measured against.

One sequence, keys and values in memory taken beforehand, qkv and gate-up fused, nothing that is not needed. Either over
the weights as torch has them, or laid out as oneDNN reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from outrider_serving.engine.packed_linear import PackedLinear
from transformers import PreTrainedModel

Linear = torch.nn.Linear | PackedLinear


@dataclass(frozen=True)
class Layer:
    """The weights of a layer. The norms' are [hidden]."""

    norm_in: torch.Tensor
    qkv: Linear
    out: Linear
    norm_mlp: torch.Tensor
    gate_up: Linear
    down: Linear


class HandWritten:
    """`forward` reads rows at the end of its one cache and gives their logits; `length` may be set back."""

    def __init__(self, model: PreTrainedModel, packed: bool, most_rows: int) -> None:
        config = model.config
        self._lay: type[PackedLinear] | None = PackedLinear if packed else None
        decoder = model.get_decoder()
        self._embedding = decoder.embed_tokens.weight
        self._layers = [self._layer(layer) for layer in decoder.layers]
        self._norm = decoder.norm.weight
        self._output = self._laid(model.get_output_embeddings())
        self._eps = config.rms_norm_eps
        self._heads, self._kv_heads = config.num_attention_heads, config.num_key_value_heads
        self._head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        memory = (len(self._layers), 1, self._kv_heads, most_rows, self._head_dim)
        self._keys, self._values = (torch.zeros(memory, dtype=model.dtype) for _ in range(2))
        cos, sin = decoder.rotary_emb(self._embedding[:1], torch.arange(most_rows)[None])
        half = self._head_dim // 2
        self._cos = cos[0][:, None]
        self._sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1)[:, None]
        self.length = 0

    def _laid(self, linear: torch.nn.Linear) -> Linear:
        return linear if self._lay is None else self._lay(linear)

    def _joined(self, *linears: torch.nn.Linear) -> Linear:
        has_bias = linears[0].bias is not None
        joined = torch.nn.Linear(1, 1, bias=has_bias)
        joined.weight = torch.nn.Parameter(torch.cat([linear.weight for linear in linears]), requires_grad=False)
        joined.out_features, joined.in_features = joined.weight.shape
        if has_bias:
            joined.bias = torch.nn.Parameter(torch.cat([linear.bias for linear in linears]), requires_grad=False)
        return self._laid(joined)

    def _layer(self, layer: Any) -> Layer:
        attention, mlp = layer.self_attn, layer.mlp
        return Layer(
            norm_in=layer.input_layernorm.weight,
            qkv=self._joined(attention.q_proj, attention.k_proj, attention.v_proj),
            out=self._laid(attention.o_proj),
            norm_mlp=layer.post_attention_layernorm.weight,
            gate_up=self._joined(mlp.gate_proj, mlp.up_proj),
            down=self._laid(mlp.down_proj),
        )

    @torch.inference_mode()
    def forward(self, tokens: list[int]) -> torch.Tensor:
        """Logits [rows, vocabulary]."""
        rows, start, end = len(tokens), self.length, self.length + len(tokens)
        size = (self._embedding.shape[1],)
        cos, sin = self._cos[start:end], self._sin[start:end]
        turned = self._heads + self._kv_heads
        mask = None
        if rows > 1:
            mask = torch.zeros(rows, end, dtype=self._embedding.dtype)
            mask[:, start:] = torch.full((rows, rows), -torch.inf).triu(1)
        hidden = F.embedding(torch.tensor(tokens), self._embedding)
        for index, layer in enumerate(self._layers):
            qkv = layer.qkv(F.rms_norm(hidden, size, layer.norm_in, self._eps)).view(rows, -1, self._head_dim)
            heads = qkv[:, :turned]
            heads = torch.addcmul(heads * cos, heads.roll(self._head_dim // 2, -1), sin).transpose(0, 1)
            self._keys[index, 0, :, start:end] = heads[self._heads :]
            self._values[index, 0, :, start:end] = qkv[:, turned:].transpose(0, 1)
            attended = F.scaled_dot_product_attention(
                heads[: self._heads].unsqueeze(0),
                self._keys[index, :, :, :end],
                self._values[index, :, :, :end],
                attn_mask=mask,
                enable_gqa=True,
            )
            hidden = hidden + layer.out(attended[0].transpose(0, 1).reshape(rows, -1))
            gate, up = layer.gate_up(F.rms_norm(hidden, size, layer.norm_mlp, self._eps)).chunk(2, -1)
            hidden = hidden + layer.down(F.silu(gate) * up)
        self.length = end
        logits: torch.Tensor = self._output(F.rms_norm(hidden, size, self._norm, self._eps))
        return logits
