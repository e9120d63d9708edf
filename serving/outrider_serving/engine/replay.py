"""What rank 0 does with its KV pool, as the other ranks do it to theirs.

Blocks are given out, shared and taken back on rank 0 alone. The others are told with every forward where each
sequence's rows are, and which rows moved or were zeroed since the last one; they remember nothing. A message is int32
throughout, masks as bits behind it, no pickles: eight sequences of 1,000 tokens with trees of 16 nodes take about 4 kB.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from outrider_serving.engine.kv_cache import SequenceKV
from outrider_serving.engine.kv_pool import KVPool, KVShape
from outrider_serving.engine.rows import Rows

CAUSAL = -1  # in the place of the tail's length: Rows without a mask of their own
INT = np.dtype(np.int32)
# Of each sequence: rows in its cache, blocks, new rows, the tail's length, logits_from.
FIELDS = 5


class RecordedPool(KVPool):
    """Rank 0's. Remembers what moved since the last message, and what was zeroed: a move from nowhere, of blocks."""

    def __init__(self, shape: KVShape, blocks: int) -> None:
        super().__init__(shape, blocks)
        self._moves: list[tuple[list[int], list[int]]] = []

    def move(self, source: list[int], target: list[int]) -> None:
        super().move(source, target)
        self._moves.append((source, target))

    def clear(self, blocks: list[int]) -> None:
        super().clear(blocks)
        self._moves.append(([], blocks))

    def message(self, batch: Sequence[Rows]) -> bytes:
        """Of a forward over `batch`, whose caches have room for its rows."""
        moves, self._moves = self._moves, []
        about = [
            (
                rows.kv.length,
                len(rows.kv.blocks),
                len(rows),
                CAUSAL if rows.visible is None else rows.visible.shape[1],
                rows.logits_from,
            )
            for rows in batch
        ]
        parts: list[Sequence[int]] = []
        for source, target in moves:
            parts += [(len(source), len(target)), source, target]
        for rows in batch:
            parts += [rows.kv.blocks, rows.tokens, rows.positions]
        numbers = np.concatenate(
            [np.array((len(moves), len(batch)), INT), np.array(about, INT).ravel(), *(np.array(p, INT) for p in parts)]
        )
        masks = [rows.visible.ravel() for rows in batch if rows.visible is not None]
        bits = np.packbits(np.concatenate(masks)) if masks else np.empty(0, np.uint8)
        return b"".join((INT.type(numbers.size).tobytes(), numbers.tobytes(), bits.tobytes()))


class PlacedKV(SequenceKV):
    """A sequence's rows on another rank: where rank 0 says they are."""

    def __init__(self, pool: KVPool, blocks: list[int], length: int) -> None:
        super().__init__(pool)
        self._blocks = blocks
        self.length = length

    def free(self) -> None:
        """The blocks are rank 0's to give back."""


class Replayer:
    """On the other ranks: reads messages."""

    def __init__(self, pool: KVPool) -> None:
        self._pool = pool

    def batch(self, message: bytes) -> list[Rows]:
        """Moves what rank 0 moved, zeroes what it zeroed, and gives the batch of its forward."""
        count = int(np.frombuffer(message, INT, 1)[0])
        numbers = _Numbers(np.frombuffer(message, INT, count, offset=INT.itemsize))
        masks = np.unpackbits(np.frombuffer(message, np.uint8, offset=(1 + count) * INT.itemsize)).view(np.bool_)
        moves, sequences = numbers.take(2)
        about = [numbers.take(FIELDS) for _ in range(sequences)]
        for _ in range(moves):
            sources, targets = numbers.take(2)
            source, target = numbers.take(sources), numbers.take(targets)
            if source:
                self._pool.move(source, target)
            else:
                self._pool.clear(target)
        batch: list[Rows] = []
        for length, blocks, rows, tail, logits_from in about:
            kv = PlacedKV(self._pool, numbers.take(blocks), length)
            tokens, positions = numbers.take(rows), numbers.take(rows)
            visible = None if tail == CAUSAL else masks[: rows * tail].reshape(rows, tail)
            masks = masks[rows * max(tail, 0) :]
            batch.append(Rows(kv, tokens, positions, visible, logits_from))
        return batch


class _Numbers:
    def __init__(self, numbers: NDArray[np.int32]) -> None:
        self._numbers = numbers
        self._at = 0

    def take(self, count: int) -> list[int]:
        """The next `count`."""
        taken: list[int] = self._numbers[self._at : self._at + count].tolist()
        self._at += count
        return taken
