"""The keys and values of one sequence, in one growing block of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

GROW_ROWS = 256


@dataclass(frozen=True)
class KVShape:
    """What one row (one token) of a model's KV cache is made of."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    @property
    def row_bytes(self) -> int:
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype.itemsize


class SequenceKV:
    """Rows of keys and values: first the committed prefix, one row a token, then the rows of a tree.

    Keys are stored after RoPE at their absolute position, so a row can move without being computed anew.
    """

    def __init__(self, shape: KVShape) -> None:
        self.shape = shape
        self.length = 0
        self._keys = self._empty(0)
        self._values = self._empty(0)

    def _empty(self, rows: int) -> torch.Tensor:
        shape = self.shape
        return torch.empty((shape.layers, shape.kv_heads, rows, shape.head_dim), dtype=shape.dtype, device=shape.device)

    @property
    def capacity(self) -> int:
        return self._keys.shape[2]

    def reserve(self, rows: int) -> None:
        """Makes room for `rows` more. Grows by half at least, so that a long answer is copied few times."""
        needed = self.length + rows
        if needed <= self.capacity:
            return
        capacity = max(needed, self.capacity * 3 // 2)
        capacity = -(-capacity // GROW_ROWS) * GROW_ROWS
        for name in ("_keys", "_values"):
            grown = self._empty(capacity)
            grown[:, :, : self.length] = getattr(self, name)[:, :, : self.length]
            setattr(self, name, grown)

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Puts a layer's new rows [kv_heads, rows, head_dim] behind the old; gives views of all of the layer's.

        The rows count only from `advance` on, when every layer has been written.
        """
        end = self.length + keys.shape[1]
        self._keys[layer, :, self.length : end] = keys
        self._values[layer, :, self.length : end] = values
        return self._keys[layer, :, :end], self._values[layer, :, :end]

    def advance(self, rows: int) -> None:
        self.length += rows

    def compact(self, prefix: int, rows: Sequence[int]) -> None:
        """Keeps the first `prefix` rows and then just `rows`, in that order; the others are forgotten.

        Backtracking: the rows of the branches that were wrong are overwritten.
        """
        kept = list(rows)
        end = prefix + len(kept)
        if kept != list(range(prefix, end)):
            index = torch.tensor(kept, device=self.shape.device)
            self._keys[:, :, prefix:end] = self._keys.index_select(2, index)
            self._values[:, :, prefix:end] = self._values.index_select(2, index)
        self.length = end
