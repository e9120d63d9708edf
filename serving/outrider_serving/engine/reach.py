"""Where in the pool the rows lie that a packed batch attends to, and with which masks: the same for all layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray

from outrider_serving.engine.kv_pool import BLOCK_TOKENS, KVPool
from outrider_serving.engine.rows import Rows

# The mask of folded queries is as many times larger as a group has heads; a prompt's chunk is left unfolded.
FOLDED_ROWS = 64
# Three queries side by side take 1.15 of the time of one by one, six take 0.7 (bfloat16): below, each is alone.
LEAST_FOLDED = 6
# Two sequences are attended to in one call where the shorter has at least this share of the longer's rows, for its
# masked rows cost as much as others. 32 sequences of 200 to 450 rows take 36 ms so and 47 one by one (30 layers on two
# cores, which three KV heads do not share evenly, and six do).
LEAST_SHARE = 0.6
# More queries than a step's are a prompt's: of these the kernel takes so many at once.
EXACT_ROWS = 16
CHUNK_ROWS = 32


@dataclass(frozen=True)
class Reach:
    """What the new rows of one sequence, or of two with as many new rows, attend to, for all layers of one window.

    keys, values: for each run of the pool's rows, for each layer, a view [sequences, kv_heads, run rows, head_dim].
    masks: for each run an additive mask [sequences, 1, queries, run rows], or None when everything is visible. Of a
    prompt's chunk there may be more queries than rows, which see nothing and are not looked at.
    folded: the queries of a group of heads stand side by side as rows, mask included.
    """

    sequences: int
    rows: int
    keys: list[tuple[torch.Tensor, ...]]
    values: list[tuple[torch.Tensor, ...]]
    masks: list[torch.Tensor | None]
    folded: bool


def order(batch: Sequence[Rows]) -> list[int]:
    """The indices of a batch in the order in which most neighbours can be attended to together: as many new rows, then
    about as long, then as they lie in memory.
    """
    ordered: list[int] = []
    by_rows = sorted(range(len(batch)), key=lambda index: (len(batch[index]), batch[index].total))
    for _, group in groupby(by_rows, key=lambda index: len(batch[index])):
        for pair in _twos(list(group)):
            ordered += sorted(pair, key=lambda index: batch[index].kv.blocks[0])
    return ordered


def _twos(indices: list[int]) -> list[list[int]]:
    return [indices[start : start + 2] for start in range(0, len(indices), 2)]


class Reaches:
    """Finds them for one window. `group`: query heads a KV head."""

    def __init__(self, pool: KVPool, window: int | None, group: int) -> None:
        self._pool = pool
        self._window = window
        self._group = group

    def of(self, batch: Sequence[Rows]) -> Iterator[Reach]:
        """In the order of the batch, neighbours together where that pays."""
        index = 0
        while index < len(batch):
            pair = self._pair(batch[index : index + 2])
            yield self._of_one(batch[index]) if pair is None else pair
            index += 1 if pair is None else 2

    def _more(self, end: int) -> int:
        """How many rows behind `end`, up to the end of its block, are read along where a mask hides them.

        In bfloat16 on a CPU the kernel keeps the code that it has made for each number of queries and of rows, for
        ever and in each thread: 18 kB each, 230 MB in ten minutes of 64 streams (measured on AMX).
        """
        return -end % BLOCK_TOKENS if self._keeps_code else 0

    @property
    def _keeps_code(self) -> bool:
        return self._pool.shape.device.type == "cpu" and self._pool.shape.dtype is torch.bfloat16

    def _folded(self, rows: int) -> bool:
        few = rows <= FOLDED_ROWS and rows * self._group >= LEAST_FOLDED
        return self._pool.shape.device.type == "cuda" or few

    def _of_one(self, rows: Rows) -> Reach:
        runs = rows.kv.runs(rows.first_row(self._window), rows.total)
        allowed = rows.allowed(self._window)
        masks: list[torch.Tensor | None] = [None] * len(runs)
        if allowed is not None:
            start, end = runs[-1]
            more = self._more(end)
            runs[-1] = start, end + more
            allowed = np.pad(allowed, ((0, 0), (0, more)))
            masks = list(self._mask(allowed[None]).split([end - start for start, end in runs], dim=-1))
        return Reach(
            sequences=1,
            rows=len(rows),
            keys=[self._pool.all_keys[:, :, start:end].unsqueeze(1).unbind(0) for start, end in runs],
            values=[self._pool.all_values[:, :, start:end].unsqueeze(1).unbind(0) for start, end in runs],
            masks=masks,
            folded=self._folded(len(rows)),
        )

    def _pair(self, pair: Sequence[Rows]) -> Reach | None:
        """Two in one: two places in memory are always a step apart. None where they have not as many new rows or not
        one run each, the second behind the first and about as long; or where what lies behind the shorter one's rows,
        which is masked, is not in the pool.
        """
        if len(pair) < 2 or self._pool.shape.device.type != "cpu":
            return None
        rows = len(pair[0])
        runs = [run for each in pair for run in each.kv.runs(each.first_row(self._window), each.total)]
        if len(pair[1]) != rows or rows > FOLDED_ROWS or len(runs) > 2:
            return None
        (first, first_end), (second, second_end) = runs
        lengths = [first_end - first, second_end - second]
        longest = max(lengths)
        own = [each.allowed(self._window) for each in pair]
        masked = lengths[0] != lengths[1] or any(mask is not None for mask in own)
        if masked:
            longest += self._more(first + longest)
        if not first < second <= self._pool.blocks * BLOCK_TOKENS - longest or min(lengths) < LEAST_SHARE * longest:
            return None
        allowed = np.zeros((2, rows, longest), dtype=np.bool_)
        for index, mask in enumerate(own):
            allowed[index, :, : lengths[index]] = True if mask is None else mask
        return Reach(
            sequences=2,
            rows=rows,
            keys=[self._two(self._pool.all_keys, first, second, longest)],
            values=[self._two(self._pool.all_values, first, second, longest)],
            masks=[self._mask(allowed) if masked else None],
            folded=self._folded(rows),
        )

    @staticmethod
    def _two(memory: torch.Tensor, first: int, second: int, length: int) -> tuple[torch.Tensor, ...]:
        """For each layer, `length` rows from both places on: views [2, kv_heads, length, head_dim]."""
        layers, heads, _, head_dim = memory.shape
        of_layer, of_head, of_row, of_value = memory.stride()
        strides = (of_layer, (second - first) * of_row, of_head, of_row, of_value)
        return memory.as_strided((layers, 2, heads, length, head_dim), strides, first * of_row).unbind(0)

    def _mask(self, allowed: NDArray[np.bool_]) -> torch.Tensor:
        """bool [sequences, rows, cache rows] → additive [sequences, 1, queries, cache rows]."""
        rows = allowed.shape[1]
        if rows > EXACT_ROWS and self._keeps_code:
            allowed = np.pad(allowed, ((0, 0), (0, -rows % CHUNK_ROWS), (0, 0)))
        if self._folded(rows):
            allowed = allowed.repeat(self._group, axis=1)
        mask = torch.zeros(allowed.shape, dtype=self._pool.shape.dtype)
        mask.masked_fill_(torch.from_numpy(~allowed), torch.finfo(mask.dtype).min)
        return mask.unsqueeze(1).to(self._pool.shape.device)
