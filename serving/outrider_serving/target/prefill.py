"""How much of the prompts a step reads beside the streams that run. Pure; times are given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from outrider_serving.engine.kv_pool import BLOCK_TOKENS

# A stream that runs beside a prompt gets its tokens at half its pace at worst, which leaves room below three times
# for what a step's time varies by itself.
STRETCH = 2.0
PACE_RATE = 0.5
SLOWEST_PACE = 8.0


Predict = Callable[[NDArray[np.float64], int], NDArray[np.float64]]


class PrefillPace:
    """Bounds a step's prompt tokens by time, and learns what they in fact cost: a chunk reads all of its prompt that
    came before, which the time of so many tokens alone does not say.
    """

    def __init__(self, predict: Predict, max_batched_tokens: int) -> None:
        """predict: tokens, sequences → seconds of a step over each of the tokens."""
        self._predict = predict
        self._max_batched_tokens = max_batched_tokens
        self._pace = 1.0

    def room(self, decoding: int, reading: int) -> int:
        """Prompt tokens for a step in which `decoding` sequences get a next token, while the prompts of `reading`
        others are read: the whole budget when nobody waits for a next token, else what keeps the step within STRETCH of
        a plain one without a prompt, and a block at least, so that it goes on. Where more wait for their first token
        than for the next, as in a surge, their share of the step grows with their number.

        Trees come on top: what they make of the step is theirs to pay for, and no prompt is read later for them.
        """
        budget = self._max_batched_tokens - decoding
        if not decoding:
            return budget
        if budget <= BLOCK_TOKENS:  # also where there are as many streams as tokens allowed: a prompt is to go on
            return BLOCK_TOKENS
        added = np.arange(BLOCK_TOKENS, budget + 1, dtype=np.float64)
        seconds = self._pace * self._predict(decoding + added, decoding + 1)
        plain_s = float(self._predict(np.array([decoding], dtype=np.float64), decoding)[0])
        fitting = int(np.searchsorted(seconds, max(STRETCH, 1.0 + reading / decoding) * plain_s, side="right"))
        return BLOCK_TOKENS + max(0, fitting - 1)

    def observe(self, rows: int, sequences: int, seconds: float) -> None:
        """A step over so many rows, decoded and read, of so many sequences took so long."""
        predicted = float(self._predict(np.array([rows], dtype=np.float64), sequences)[0])
        ratio = min(max(seconds / predicted, 1 / SLOWEST_PACE), SLOWEST_PACE)
        # Warm-up took the fastest of its rounds: nothing is faster for long.
        self._pace = max(1.0, self._pace + PACE_RATE * (ratio - self._pace))
