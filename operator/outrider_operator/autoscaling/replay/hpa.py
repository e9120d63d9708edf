"""Kubernetes' HorizontalPodAutoscaler on concurrency: a Pods metric with an average value, and the default behavior.

After autoscaling/v2 and pkg/controller/podautoscaler/replica_calculator.go: every 15 s ceil(pods · mean / goal),
nothing within 10 %. A pod without metrics, as one that starts, counts as idle when the rest wants more, and as at its
goal when the rest wants less; where that turns the direction, nothing is done.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from outrider_operator.autoscaling.behavior import (
    bounded,
    rate_limited,
    recent_changes,
    recent_recommendations,
    stabilized,
    tolerated,
)
from outrider_operator.autoscaling.decision import Decision, Reason
from outrider_operator.autoscaling.history import Recommended, Scaled
from outrider_operator.autoscaling.policy import Behavior, Bounds
from outrider_operator.autoscaling.replay.policies import TICK_S, paired
from outrider_operator.autoscaling.replay.sight import Sight


class Hpa:
    """goal: requests that run or wait, of one pod on average."""

    tick_s = TICK_S

    def __init__(self, goal: float, bounds: Bounds) -> None:
        self._goal = goal
        self._bounds = bounds
        self._recommended: tuple[Recommended, ...] | None = None
        self._scaled: tuple[Scaled, ...] = ()

    def decide(self, sight: Sight, now_s: float) -> Decision:
        current, behavior = sight.target.wanted, self._bounds.behavior
        loads = [load for load in sight.loads if load is not None]
        silent = len(sight.loads) - len(loads) + sight.target.starting
        recommended = desired_replicas(current, loads, silent, sight.target.stuck, self._goal, behavior)
        if self._recommended is None:
            # What it finds is its first recommendation, so that nothing is taken away before a window was seen.
            self._recommended = (Recommended(now_s, current),)
        past = recent_recommendations(self._recommended, behavior, now_s)
        self._recommended = (*past, Recommended(now_s, recommended))
        stable = stabilized(recommended, current, past, behavior, now_s)
        self._scaled = recent_changes(self._scaled, now_s)
        replicas = bounded(rate_limited(stable, current, self._scaled, behavior, now_s), self._bounds)
        if replicas != current:
            self._scaled = (*self._scaled, Scaled(now_s, replicas - current))
        mean = sum(loads) / len(loads) if loads else 0.0
        text = f"{mean:.1f} requests a pod, {self._goal:.1f} is the goal: {recommended} wanted."
        return paired(replicas, Reason("target", "Concurrency", text))


def desired_replicas(
    current: int, loads: Sequence[float], silent: int, pending: int, goal: float, behavior: Behavior
) -> int:
    """What the metric asks for. loads: of the pods that have metrics. silent: pods that run and have none. pending:
    pods that do not run, which only an increase looks at.
    """
    if not loads:
        return current
    usage = sum(loads) / len(loads) / goal
    if not silent and not (pending and usage > 1):
        return current if tolerated(usage, behavior) else math.ceil(usage * len(loads))
    filled = [*loads, *([goal] * silent if usage < 1 else [0.0] * (silent + pending))]
    again = sum(filled) / len(filled) / goal
    if tolerated(again, behavior) or (usage < 1) != (again < 1):
        return current
    wanted = math.ceil(again * len(filled))
    # Pods that are counted but not asked for any more must not turn the direction either.
    return current if (again < 1) == (wanted > current) else wanted
