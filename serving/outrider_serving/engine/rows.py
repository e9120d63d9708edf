"""The new rows of one sequence in a packed batch, and what they may attend to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from outrider_serving.engine.kv_cache import SequenceKV


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
