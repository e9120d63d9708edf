"""How long a request that finds the queue full should wait. Pure; times are given."""

from __future__ import annotations

import math
from collections import deque

# Enough to know the rate, few enough to follow it.
REMEMBERED = 32
LONGEST_S = 120


class CompletionRate:
    """When requests ended lately, on a clock that stands still while there are none: a quiet hour is no slow work."""

    def __init__(self) -> None:
        self._ended_s: deque[float] = deque(maxlen=REMEMBERED)
        self._idle_s = 0.0

    def began(self, now_s: float) -> None:
        """A request was taken in while there was no other."""
        if self._ended_s:
            self._idle_s = now_s - self._ended_s[-1]

    def ended(self, now_s: float) -> None:
        self._ended_s.append(now_s - self._idle_s)

    def retry_after_s(self, waiting: int, now_s: float) -> int:
        """Whole seconds until those who wait will have run, at the rate of late; 1 to LONGEST_S."""
        if len(self._ended_s) < 2:
            return 1
        each_s = (now_s - self._idle_s - self._ended_s[0]) / len(self._ended_s)
        return min(max(1, math.ceil(waiting * each_s)), LONGEST_S)
