"""Attention over a packed batch: every sequence's new rows side by side, each over its own KV cache.

Registered with transformers' AttentionInterface, so that the model code of any decoder family runs unchanged
and hands its queries, keys and values to `packed_attention`. Masks are additive floats: boolean masks are
silently wrong in some of its paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AttentionInterface

from outrider_serving.engine.kv_cache import SequenceKV

ATTENTION = "outrider"


@dataclass(frozen=True)
class Rows:
    """One sequence's new rows in a packed batch.

    tokens, positions: one entry a row. visible: bool [rows, tail], which of the last `tail` rows of the cache,
    the new ones included, each new row may attend to; older rows are visible to all. None: each row sees all
    that is before it. logits_from: the new rows from this index on are wanted as logits.
    """

    kv: SequenceKV
    tokens: Sequence[int]
    positions: Sequence[int]
    visible: NDArray[np.bool_] | None = None
    logits_from: int = 0

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def logits(self) -> int:
        return len(self) - self.logits_from

    @cached_property
    def _tail(self) -> NDArray[np.bool_]:
        return np.tri(len(self), dtype=np.bool_) if self.visible is None else self.visible

    def mask(self, dtype: torch.dtype, device: torch.device, window: int | None) -> torch.Tensor | None:
        """Additive mask [rows, cache rows], or None when every row may see everything."""
        total = self.kv.length + len(self)
        tail = self._tail
        if tail.all() and (window is None or total <= window):
            return None
        allowed = np.ones((len(self), total), dtype=np.bool_)
        allowed[:, total - tail.shape[1] :] = tail
        if window is not None:
            allowed &= self._within(window, total)
        mask = torch.zeros(allowed.shape, dtype=dtype)
        mask.masked_fill_(torch.from_numpy(~allowed), torch.finfo(dtype).min)
        return mask.to(device)

    def _within(self, window: int, total: int) -> NDArray[np.bool_]:
        """bool [rows, cache rows]: which rows the window reaches.

        A committed row's index is its position. A tree's rows are not at theirs, but a tree is shallower than
        any window.
        """
        queries = np.asarray(self.positions)[:, None]
        rows = np.arange(total)[None, :]
        committed = total if self.visible is None else total - self._tail.shape[1]
        return (rows >= committed) | (queries - rows < window)


class PackedBatch:
    """The rows of every sequence of one forward, and their masks, made once for all layers."""

    def __init__(self, rows: Sequence[Rows], dtype: torch.dtype, device: torch.device) -> None:
        self.rows = list(rows)
        self._dtype = dtype
        self._device = device
        self._masks: dict[int | None, list[torch.Tensor | None]] = {}

    def masks(self, window: int | None) -> list[torch.Tensor | None]:
        """One mask a sequence. Layers with and without a sliding window have masks of their own."""
        if window not in self._masks:
            self._masks[window] = [rows.mask(self._dtype, self._device, window) for rows in self.rows]
        return self._masks[window]


class UnsupportedModel(ValueError):
    """The model's attention needs what is not there; the message says what."""


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 the batch has its own masks
    *,
    packed: PackedBatch,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """query [1, heads, rows, head_dim], key and value [1, kv_heads, rows, head_dim] → ([1, rows, heads,
    head_dim], None).

    Writes the new keys and values into each sequence's cache. KV heads stand in the place of SDPA's batch, so
    that the queries of a group share their keys without a copy (grouped-query attention).
    """
    if s_aux is not None:
        raise UnsupportedModel("its attention has sinks, which are not supported; serve a model without them")
    heads, total, head_dim = query.shape[1:]
    kv_heads = key.shape[1]
    layer: int = module.layer_idx  # type: ignore[assignment]
    grouped = query.view(kv_heads, heads // kv_heads, total, head_dim)
    out = query.new_empty(total, heads, value.shape[-1])
    start = 0
    for rows, mask in zip(packed.rows, packed.masks(sliding_window), strict=True):
        end = start + len(rows)
        keys, values = rows.kv.write(layer, key[0, :, start:end], value[0, :, start:end])
        attended = _attend(grouped[:, :, start:end], keys, values, mask, scaling, softcap)
        out[start:end] = attended.reshape(heads, end - start, -1).transpose(0, 1)
        start = end
    return out.unsqueeze(0), None


def _attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    softcap: float | None,
) -> torch.Tensor:
    """query [kv_heads, group, rows, head_dim], keys and values [kv_heads, cache rows, head_dim]."""
    group = query.shape[1]
    if softcap is None:
        shared = (keys.shape[0], group, keys.shape[1])
        return torch.nn.functional.scaled_dot_product_attention(
            query,
            keys.unsqueeze(1).expand(*shared, keys.shape[2]),
            values.unsqueeze(1).expand(*shared, values.shape[2]),
            attn_mask=mask,
            scale=scaling,
        )
    # Gemma2 caps its scores, which SDPA cannot.
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query, keys.unsqueeze(1).transpose(2, 3)) * scale
    scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        scores = scores + mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(weights, values.unsqueeze(1))


AttentionInterface.register(ATTENTION, packed_attention)
