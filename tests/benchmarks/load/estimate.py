"""How long the rest of a load benchmark takes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.load.points import Contender, Point
from benchmarks.load.workload import Request

SETTLE_S = 0.6  # between two batches
PROMPT_TOKEN = 1 / 8  # of a token that is generated
Job = tuple[Contender, Point]


def work_of(requests: Sequence[Request]) -> float:
    return sum(each.tokens + PROMPT_TOKEN * len(each.prompt) for each in requests)


@dataclass
class Estimate:
    """Learns from what was run: a contender's tokens a second, which rise as streams are added."""

    work: dict[Point, float]  # tokens of all its answers; those of prompts count for less, since they are read together
    _rates: dict[Contender, list[tuple[int, float]]] = field(default_factory=dict)  # streams, tokens a second

    def took(self, job: Job, seconds: float) -> None:
        contender, point = job
        self._rates.setdefault(contender, []).append((point.streams, self.work[point] / seconds))

    def left_s(self, jobs: Sequence[Job]) -> float | None:
        """None while a contender of theirs was not run yet."""
        if any(contender not in self._rates for contender, _ in jobs):
            return None
        return sum(SETTLE_S + self.work[point] / self._rate(contender, point.streams) for contender, point in jobs)

    def _rate(self, contender: Contender, streams: int) -> float:
        """Of the run with the nearest number of streams; the latest of them."""
        nearest = min(reversed(self._rates[contender]), key=lambda rate: abs(rate[0] - streams))
        return nearest[1]
