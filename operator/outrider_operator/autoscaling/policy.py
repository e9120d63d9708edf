"""What spec.autoscaling asks for, with every default filled in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MAX_RATE_PERIOD_S = 1800.0


@dataclass(frozen=True)
class Rate:
    """At most `value` pods, or per cent of them, within `period_s`. As in autoscaling/v2 HPAScalingPolicy."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: float


@dataclass(frozen=True)
class Rules:
    """Of one direction, as in autoscaling/v2 HPAScalingRules. tolerance: of the ratio to the goal."""

    stabilization_s: float
    rates: tuple[Rate, ...]
    select: Literal["Max", "Min", "Disabled"] = "Max"
    tolerance: float = 0.1


# Kubernetes' own defaults.
SCALE_UP = Rules(0.0, (Rate("Percent", 100, 15.0), Rate("Pods", 4, 15.0)))
SCALE_DOWN = Rules(300.0, (Rate("Percent", 100, 15.0),))


@dataclass(frozen=True)
class Behavior:
    """How fast a role may grow and shrink."""

    up: Rules = SCALE_UP
    down: Rules = SCALE_DOWN


@dataclass(frozen=True)
class Bounds:
    """Replicas of one role. Where least and most are one, it is not scaled."""

    least: int
    most: int
    behavior: Behavior = field(default_factory=Behavior)


@dataclass(frozen=True)
class Policy:
    """The whole of spec.autoscaling. draft: None where there is none, or where mode is Off.

    drafts_per_target: no more drafts than so many for each wanted target. ttft_p95_s, itl_p95_s: None where no goal was
    given. min_goodput_gain: below it speculation does not pay. always: spec.speculation.mode is Always. max_depth:
    spec.speculation.maxDepth.
    """

    target: Bounds
    draft: Bounds | None
    ttft_p95_s: float | None = None
    itl_p95_s: float | None = None
    min_goodput_gain: float = 1.05
    always: bool = False
    drafts_per_target: float = 1.0
    max_depth: int = 8
