"""How long a request that finds the queue full should wait. Pure; times are given."""

from __future__ import annotations

import math
from collections import deque

# Enough to know the rate, few enough to follow it.
REMEMBERED = 32
LONGEST_S = 120


class CompletionRate:
    """When requests ended lately."""

    def __init__(self) -> None:
        self._ended_s: deque[float] = deque(maxlen=REMEMBERED)

    def ended(self, now_s: float) -> None:
        self._ended_s.append(now_s)

    def retry_after_s(self, waiting: int, now_s: float) -> int:
        """Whole seconds until those who wait will have run, at the rate of late; 1 to LONGEST_S."""
        if len(self._ended_s) < 2:
            return 1
        each_s = (now_s - self._ended_s[0]) / len(self._ended_s)
        return min(max(1, math.ceil(waiting * each_s)), LONGEST_S)
