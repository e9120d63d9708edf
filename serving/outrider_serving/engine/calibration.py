"""What a proposer's belief is worth: acceptance as it was in fact measured."""

from __future__ import annotations

import math
from bisect import bisect
from typing import NamedTuple

from outrider_serving.engine.tree import Source

# Finer towards 1, where most first choices lie: at 0.93 a branch beside it is right ten times as often as at 0.995.
BELIEF_EDGES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)
# Ranks and depths from here on are one class.
LAST_RANK = 3
DEPTH_EDGES = (2, 4, 7)
# A class starts as if the wider one that it lies in had been seen this often, and a sequence as if the fleet had.
PRIOR_WEIGHT = 8.0
SEQUENCE_PRIOR_WEIGHT = 6.0
# Older outcomes fade: the last few hundred decide, so that a change of traffic is followed within minutes.
MEMORY = 400.0
SEQUENCE_MEMORY = 48.0


class Proposal(NamedTuple):
    """What is known of a node before it is verified.

    score: the proposer's log belief, given the parent. depth: from 1. rank: 0 for the parent's likeliest child.
    """

    source: Source
    score: float
    depth: int
    rank: int

    @property
    def belief(self) -> float:
        return math.exp(min(self.score, 0.0))


class Share:
    """How often something happened, of the times that it could have; older outcomes fade."""

    __slots__ = ("_hits", "_memory", "_seen")

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._hits = self._seen = 0.0

    def estimate(self, prior: float, weight: float) -> float:
        return (self._hits + weight * prior) / (self._seen + weight)

    def observe(self, happened: bool) -> None:
        fade = 1.0 - 1.0 / self._memory
        self._hits = self._hits * fade + happened
        self._seen = self._seen * fade + 1.0


class Calibration:
    """Acceptance per source and belief, and within those per rank and depth; each a Beta estimate.

    `parent` is the calibration of all sequences of a kind; a sequence's own starts from it, because copying and open
    prose accept n-grams five times differently (0.76 against 0.14 on a small model).
    """

    def __init__(self, parent: Calibration | None = None) -> None:
        self._parent = parent
        self._shares: dict[tuple[int, ...], Share] = {}

    @staticmethod
    def _class(proposal: Proposal) -> tuple[int, int]:
        return int(proposal.source), bisect(BELIEF_EDGES, proposal.belief)

    @classmethod
    def _class_within(cls, proposal: Proposal) -> tuple[int, ...]:
        return (*cls._class(proposal), min(proposal.rank, LAST_RANK), bisect(DEPTH_EDGES, proposal.depth))

    def _share(self, key: tuple[int, ...]) -> Share:
        if key not in self._shares:
            self._shares[key] = Share(MEMORY if self._parent is None else SEQUENCE_MEMORY)
        return self._shares[key]

    def estimate(self, proposal: Proposal) -> float:
        """Probability that the target accepts a node, given its parent."""
        if self._parent is not None:
            prior = self._parent.estimate(proposal)
            return self._share(self._class(proposal)).estimate(prior, SEQUENCE_PRIOR_WEIGHT)
        wide = self._share(self._class(proposal)).estimate(proposal.belief, PRIOR_WEIGHT)
        return self._share(self._class_within(proposal)).estimate(wide, PRIOR_WEIGHT)

    def observe(self, proposal: Proposal, accepted: bool) -> None:
        """One node whose parent was reached was accepted, or not."""
        self._share(self._class(proposal)).observe(accepted)
        if self._parent is not None:
            self._parent.observe(proposal, accepted)
        else:
            self._share(self._class_within(proposal)).observe(accepted)
