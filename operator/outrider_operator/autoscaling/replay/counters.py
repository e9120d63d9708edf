"""What a simulated target counts, as a real one does on /metrics, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

INF = float("inf")
# The bounds of the pods' own histograms: what falls between two of them is not told apart.
# fmt: off
ITL_BOUNDS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1,
    0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, INF,
)
TTFT_BOUNDS_S = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
    7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, INF,
)
# fmt: on


@dataclass(slots=True)
class Counters:
    """Of one target since it was ready.

    sequence_steps: steps times the sequences they decoded. step_s, wait_s, plain_s, draft_s: as of a Step,
    summed up. gap_s: between the tokens of all sequences, summed up.
    trees: by (acceptance, depth), how many were verified. ttft, itl: observations by bucket, not cumulative.
    """

    arrived: float = 0.0
    prompt_tokens: float = 0.0
    generated_tokens: float = 0.0
    decoded_tokens: float = 0.0
    sequence_steps: float = 0.0
    step_s: float = 0.0
    wait_s: float = 0.0
    plain_s: float = 0.0
    draft_s: float = 0.0
    gap_s: float = 0.0
    trees: dict[tuple[float, int], float] = field(default_factory=dict)
    ttft: list[float] = field(default_factory=lambda: [0.0] * len(TTFT_BOUNDS_S))
    itl: list[float] = field(default_factory=lambda: [0.0] * len(ITL_BOUNDS_S))

    def copy(self) -> Counters:
        made = Counters()
        made.add(self, Counters())
        return made

    def add(self, after: Counters, before: Counters) -> None:
        """What was counted between two readings of a target."""
        for name in NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(after, name) - getattr(before, name))
        for key, trees in after.trees.items():
            self.trees[key] = self.trees.get(key, 0.0) + trees - before.trees.get(key, 0.0)
        for mine, now, then in ((self.ttft, after.ttft, before.ttft), (self.itl, after.itl, before.itl)):
            for bucket, count in enumerate(now):
                mine[bucket] += count - then[bucket]


NUMBERS = tuple(each.name for each in fields(Counters) if each.name not in ("trees", "ttft", "itl"))


def cumulative(bounds: tuple[float, ...], counts: list[float]) -> Mapping[float, float]:
    """Buckets as Prometheus has them: each holds all below its bound."""
    total = 0.0
    made: dict[float, float] = {}
    for bound, count in zip(bounds, counts, strict=True):
        total += count
        made[bound] = total
    return made
