"""What a proposer's belief is worth: acceptance as it was in fact measured."""

from __future__ import annotations

import math

from outrider_serving.engine.tree import Source

BINS = 10
# A bin starts as if it had been seen this often, and a sequence as if it had seen the fleet's bin this often.
PRIOR_WEIGHT = 8.0
SEQUENCE_PRIOR_WEIGHT = 6.0
# Older outcomes fade: the last few hundred decide, so that a change of traffic is followed within minutes.
MEMORY = 400.0
SEQUENCE_MEMORY = 48.0


class Calibration:
    """Acceptance per source and belief, each bin a Beta estimate with fading memory.

    `parent` is the calibration of all sequences; a sequence's own starts from it, because copying and open prose accept
    n-grams five times differently (0.76 against 0.14 on a small model).
    """

    def __init__(self, parent: Calibration | None = None) -> None:
        self._parent = parent
        self._memory = MEMORY if parent is None else SEQUENCE_MEMORY
        self._weight = PRIOR_WEIGHT if parent is None else SEQUENCE_PRIOR_WEIGHT
        self._hits: dict[tuple[Source, int], float] = {}
        self._seen: dict[tuple[Source, int], float] = {}

    @staticmethod
    def _bin(belief: float) -> int:
        return min(int(belief * BINS), BINS - 1)

    def estimate(self, source: Source, score: float) -> float:
        """Probability that the target accepts a node, given its parent. `score` is the proposer's log belief."""
        belief = math.exp(min(score, 0.0))
        key = (source, self._bin(belief))
        prior = belief if self._parent is None else self._parent.estimate(source, score)
        seen = self._seen.get(key, 0.0)
        return (self._hits.get(key, 0.0) + self._weight * prior) / (seen + self._weight)

    def observe(self, source: Source, score: float, accepted: bool) -> None:
        """One node whose parent was reached was accepted, or not."""
        if self._parent is not None:
            self._parent.observe(source, score, accepted)
        key = (source, self._bin(math.exp(min(score, 0.0))))
        fade = 1.0 - 1.0 / self._memory
        self._hits[key] = self._hits.get(key, 0.0) * fade + accepted
        self._seen[key] = self._seen.get(key, 0.0) * fade + 1.0
