"""What a policy is shown at one moment, and what it has to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from outrider_operator.autoscaling.decision import Decision
from outrider_operator.autoscaling.observation import Observation, Pods


@dataclass(frozen=True)
class Sight:
    """Each policy looks at what it has in a cluster, and at nothing else.

    target, draft: the pods as they are now. loads: of each ready target, requests that ran or waited at the last
    reading of its metrics; None where there was none yet. in_flight: mean requests of all targets together since the
    policy was last asked. observe: everything that the operator would gather.
    """

    target: Pods
    draft: Pods
    speculating: bool
    loads: tuple[float | None, ...]
    in_flight: float
    observe: Callable[[], Observation]


class Scaler(Protocol):
    """A policy. tick_s: how often it is asked."""

    tick_s: float

    def decide(self, sight: Sight, now_s: float) -> Decision: ...
