"""What a soak saw: memory, requests, and whether both were as they must be. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

FLAT_SHARE = 0.03
ERRORS_KEPT = 20


@dataclass(frozen=True)
class Sample:
    """Resident memory at one moment."""

    at_s: float
    bytes_by_role: dict[str, int]


@dataclass
class Counts:
    """What became of the requests."""

    ended: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    errors: list[str] = field(default_factory=list)

    def failed(self, problem: str) -> None:
        self.ended["error"] += 1
        if len(self.errors) < ERRORS_KEPT:
            self.errors.append(problem)


@dataclass(frozen=True)
class Flatness:
    """Resident memory of one role after the warm-up."""

    median_bytes: float
    deviation_share: float  # of the sample that is farthest from the median

    @property
    def flat(self) -> bool:
        return self.deviation_share <= FLAT_SHARE


def flatness(samples: Sequence[Sample], warm_up_s: float) -> dict[str, Flatness]:
    """By role; empty while nothing was sampled after the warm-up."""
    counted = [sample for sample in samples if sample.at_s >= warm_up_s]
    roles = counted[0].bytes_by_role if counted else {}
    found = {}
    for role in roles:
        values = [sample.bytes_by_role[role] for sample in counted if role in sample.bytes_by_role]
        middle = median(values)
        found[role] = Flatness(middle, max(abs(value - middle) for value in values) / middle)
    return found


def build(
    samples: Sequence[Sample], counts: Counts, warm_up_s: float, left_running: float | None, *, complete: bool
) -> dict[str, Any]:
    """The JSON but for pair, settings and machine. `passed` needs a complete run."""
    memory = flatness(samples, warm_up_s)
    no_errors = counts.ended["error"] == 0
    emptied = None if left_running is None else left_running == 0
    flat = all(of.flat for of in memory.values()) if memory else None
    return {
        "benchmark": "soak",
        "complete": complete,
        "passed": bool(complete and no_errors and flat and emptied),
        "no_errors": no_errors,
        "flat": flat,
        "emptied": emptied,
        "requests": dict(counts.ended),
        "tokens": counts.tokens,
        "errors": counts.errors,
        "memory": {role: asdict(of) | {"flat": of.flat} for role, of in memory.items()},
        "samples": [asdict(sample) for sample in samples],
    }
