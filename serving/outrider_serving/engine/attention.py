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
# The mask of folded queries is as many times larger as a group has heads; a prompt's chunk is left unfolded.
FOLDED_ROWS = 64
# Three queries side by side take 1.15 of the time of one by one, six take 0.7 (bfloat16): below, each is alone.
LEAST_FOLDED = 6
# Attending to two runs and merging them costs a third less than a copy of 2000 rows; at 100 rows it costs the same.
MERGED_RUNS = 3


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

    @property
    def total(self) -> int:
        """Rows of the cache, the new ones included."""
        return self.kv.length + len(self)

    def first_row(self, window: int | None) -> int:
        """The first row of the cache that any new row may attend to."""
        if window is None:
            return 0
        committed = self.total - int(self._tail.shape[1])
        return max(0, min(min(self.positions) - window + 1, committed))

    def allowed(self, window: int | None) -> NDArray[np.bool_] | None:
        """bool [rows, cache rows from `first_row` on], or None when every row may see everything."""
        first = self.first_row(window)
        allowed = np.ones((len(self), self.total - first), dtype=np.bool_)
        allowed[:, allowed.shape[1] - self._tail.shape[1] :] = self._tail
        if window is not None:
            allowed &= self._within(window, first)
        return None if allowed.all() else allowed

    def _within(self, window: int, first: int) -> NDArray[np.bool_]:
        """bool [rows, cache rows from `first` on]: which rows the window reaches.

        A committed row's index is its position. A tree's rows are not at theirs, but a tree is shallower than
        any window.
        """
        queries = np.asarray(self.positions)[:, None]
        rows = np.arange(first, self.total)[None, :]
        committed = self.total if self.visible is None else self.total - self._tail.shape[1]
        return (rows >= committed) | (queries - rows < window)


@dataclass(frozen=True)
class Reach:
    """What one sequence's new rows attend to, for all layers of one window.

    keys, values: for each run of the pool's rows, for each layer, a view [1, kv_heads, run rows, head_dim].
    masks: for each run an additive mask, or None when everything is visible. folded: the queries of a group of heads
    stand side by side as rows, mask included.
    """

    keys: list[tuple[torch.Tensor, ...]]
    values: list[tuple[torch.Tensor, ...]]
    masks: list[torch.Tensor | None]
    folded: bool


class PackedBatch:
    """The rows of every sequence of one forward, and all that is the same for its layers, made once."""

    def __init__(self, rows: Sequence[Rows]) -> None:
        """Each sequence's cache has room for its rows."""
        self.rows = list(rows)
        self.pool = rows[0].kv.pool
        slots = [slot for each in rows for slot in each.kv.slots(range(each.kv.length, each.total))]
        self._slots = torch.tensor(slots, device=self.pool.shape.device)
        self._reaches: dict[int | None, list[Reach]] = {}
        self._rotary: tuple[torch.Tensor, torch.Tensor] | None = None

    def write(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Puts a layer's new rows [kv_heads, rows, head_dim] of all sequences into the pool."""
        self.pool.keys[layer].index_copy_(1, self._slots, key)
        self.pool.values[layer].index_copy_(1, self._slots, value)

    def rotary(self, embeddings: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin of the rows' positions as a layer wants them, [rows, 1, head_dim], the first half of sin negated:
        x * cos + roll(x, head_dim / 2) * sin turns a head.
        """
        if self._rotary is None:
            cos, sin = (each[0].unsqueeze(1) for each in embeddings)
            half = sin.shape[-1] // 2
            self._rotary = (cos, torch.cat([-sin[..., :half], sin[..., half:]], -1))
        return self._rotary

    @property
    def windows(self) -> set[int | None]:
        """The sliding windows that layers have asked for so far."""
        return set(self._reaches)

    def reaches(self, window: int | None, group: int) -> list[Reach]:
        """One a sequence. Layers with and without a sliding window have their own. `group`: heads a KV head."""
        if window not in self._reaches:
            self._reaches[window] = [self._reach(rows, window, group) for rows in self.rows]
        return self._reaches[window]

    def _reach(self, rows: Rows, window: int | None, group: int) -> Reach:
        pool = self.pool
        runs = rows.kv.runs(rows.first_row(window), rows.total)
        few = len(rows) <= FOLDED_ROWS and len(rows) * group >= LEAST_FOLDED
        folded = pool.shape.device.type == "cuda" or few
        masks: list[torch.Tensor | None] = [None] * len(runs)
        allowed = rows.allowed(window)
        if allowed is not None:
            if folded:
                allowed = allowed.repeat(group, axis=0)
            mask = torch.zeros(allowed.shape, dtype=pool.shape.dtype)
            mask.masked_fill_(torch.from_numpy(~allowed), torch.finfo(mask.dtype).min)
            masks = list(mask.to(pool.shape.device).split([end - start for start, end in runs], dim=1))
        return Reach(
            keys=[pool.all_keys[:, :, start:end].unsqueeze(1).unbind(0) for start, end in runs],
            values=[pool.all_values[:, :, start:end].unsqueeze(1).unbind(0) for start, end in runs],
            masks=masks,
            folded=folded,
        )


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

    Writes the new keys and values into the pool. The queries of a group of heads stand side by side as rows of their
    KV head, which then is read once for all of them: eight rows of a tree take 0.6 of the time (measured, bfloat16).
    """
    if s_aux is not None:
        raise UnsupportedModel("its attention has sinks, which are not supported; serve a model without them")
    heads, total, head_dim = query.shape[1:]
    kv_heads = key.shape[1]
    group = heads // kv_heads
    layer: int = module.layer_idx  # type: ignore[assignment]
    packed.write(layer, key[0], value[0])
    # Rows before groups, so that each sequence's queries are one slice.
    folded = query.view(kv_heads, group, total, head_dim).transpose(1, 2).reshape(1, kv_heads, total * group, head_dim)
    attended = []
    start = 0
    for rows, reach in zip(packed.rows, packed.reaches(sliding_window, group), strict=True):
        end = start + group * len(rows)
        attended.append(_attend(folded[:, :, start:end], reach, layer, group, scaling, softcap))
        start = end
    out = attended[0] if len(attended) == 1 else torch.cat(attended, dim=2)
    return out.reshape(kv_heads, total, group, -1).transpose(0, 1).reshape(1, total, heads, -1), None


def _attend(
    query: torch.Tensor, reach: Reach, layer: int, group: int, scaling: float | None, softcap: float | None
) -> torch.Tensor:
    """One sequence's queries [1, kv_heads, rows * group, head_dim], a row's group side by side, over its own rows."""
    if reach.folded:
        return _over_runs(query, reach, layer, scaling, softcap)
    _, kv_heads, rows, head_dim = query.shape
    unfolded = query.view(1, kv_heads, rows // group, group, head_dim).transpose(2, 3)
    unfolded = unfolded.reshape(1, kv_heads * group, rows // group, head_dim)
    out = _over_runs(unfolded, reach, layer, scaling, softcap)
    return out.reshape(1, kv_heads, group, rows // group, -1).transpose(2, 3).reshape(1, kv_heads, rows, -1)


def _over_runs(
    query: torch.Tensor, reach: Reach, layer: int, scaling: float | None, softcap: float | None
) -> torch.Tensor:
    """query [1, heads, rows, head_dim] → the same shape. Few runs are attended to one by one and merged by the weight
    of their scores; many are gathered.
    """
    keys = [run[layer] for run in reach.keys]
    values = [run[layer] for run in reach.values]
    masks = reach.masks
    on_cpu = query.device.type == "cpu"
    if softcap is None and on_cpu and len(keys) <= MERGED_RUNS:
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        parts = [
            flash(query, key, value, attn_mask=mask, scale=scaling)
            for key, value, mask in zip(keys, values, masks, strict=True)
        ]
        if len(parts) == 1:
            only: torch.Tensor = parts[0][0]
            return only
        weights = torch.stack([scores for _, scores in parts]).softmax(dim=0).unsqueeze(-1)
        merged: torch.Tensor = (torch.stack([out for out, _ in parts]) * weights).sum(dim=0)
        return merged.to(query.dtype)
    key, value, mask = keys[0], values[0], masks[0]
    if len(keys) > 1:
        key, value = torch.cat(keys, dim=2), torch.cat(values, dim=2)
        mask = None if mask is None else torch.cat([part for part in masks if part is not None], dim=1)
    if softcap is not None:
        return _capped(query, key, value, mask, scaling, softcap)
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )


def _capped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    softcap: float,
) -> torch.Tensor:
    """Gemma2 caps its scores, which no kernel here does."""
    _, heads, rows, head_dim = query.shape
    scale = head_dim**-0.5 if scaling is None else scaling
    grouped = query.reshape(key.shape[1], -1, rows, head_dim)
    scores = torch.matmul(grouped, key[0].unsqueeze(1).transpose(2, 3)) * scale
    scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        scores = scores + mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(weights, value[0].unsqueeze(1)).reshape(1, heads, rows, -1)


AttentionInterface.register(ATTENTION, packed_attention)
