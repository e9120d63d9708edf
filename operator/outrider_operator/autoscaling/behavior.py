"""How fast a role may grow and shrink: `behavior` of autoscaling/v2, as Kubernetes' own autoscaler reads it.

The rules are those of pkg/controller/podautoscaler/horizontal.go: first recommendations are stabilised, then the change
is held within the rates by what was changed lately, then within the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from outrider_operator.autoscaling.history import Recommended, Scaled
from outrider_operator.autoscaling.policy import MAX_RATE_PERIOD_S, Behavior, Bounds, Rate, Rules


def stabilized(desired: int, current: int, past: Iterable[Recommended], behavior: Behavior, now_s: float) -> int:
    """The change that all recommendations of a window agree on: up to the least of the window for up, down to the most
    of the window for down, else none.
    """
    past = tuple(past)
    least = min([desired, *_within(past, behavior.up.stabilization_s, now_s)])
    most = max([desired, *_within(past, behavior.down.stabilization_s, now_s)])
    return min(max(current, least), most)


def rate_limited(desired: int, current: int, scaled: Iterable[Scaled], behavior: Behavior, now_s: float) -> int:
    """As far from `current` to `desired` as the rates of that direction let it go."""
    scaled = tuple(scaled)
    if desired > current:
        return min(desired, max(current, _limit(current, scaled, behavior.up, now_s, up=True)))
    if desired < current:
        return max(desired, min(current, _limit(current, scaled, behavior.down, now_s, up=False)))
    return desired


def bounded(replicas: int, bounds: Bounds) -> int:
    """Never fewer than the least, never more than the most."""
    return min(max(replicas, bounds.least), bounds.most)


def tolerated(usage: float, behavior: Behavior) -> bool:
    """Whether usage over its goal is too near to 1 to change anything."""
    return 1 - behavior.down.tolerance <= usage <= 1 + behavior.up.tolerance


def recent_recommendations(past: Iterable[Recommended], behavior: Behavior, now_s: float) -> tuple[Recommended, ...]:
    """Those that a later decision may still look at."""
    window_s = max(behavior.up.stabilization_s, behavior.down.stabilization_s)
    return tuple(made for made in past if made.at_s > now_s - window_s)


def recent_changes(scaled: Iterable[Scaled], now_s: float) -> tuple[Scaled, ...]:
    """Those that a later decision may still look at."""
    return tuple(change for change in scaled if change.at_s > now_s - MAX_RATE_PERIOD_S)


def _within(past: Iterable[Recommended], window_s: float, now_s: float) -> list[int]:
    return [made.replicas for made in past if made.at_s > now_s - window_s]


def _limit(current: int, scaled: tuple[Scaled, ...], rules: Rules, now_s: float, up: bool) -> int:
    """Where the rates of one direction end. `Max`: by the rate that changes most; `Min`: least."""
    if rules.select == "Disabled" or not rules.rates:
        return current
    ends = [_end(rate, current - _changed(scaled, rate.period_s, now_s), up) for rate in rules.rates]
    return max(ends) if up == (rules.select == "Max") else min(ends)


def _changed(scaled: tuple[Scaled, ...], period_s: float, now_s: float) -> int:
    return sum(change.change for change in scaled if change.at_s > now_s - period_s)


def _end(rate: Rate, at_start: int, up: bool) -> int:
    """Where a period that began with `at_start` replicas may end by one rate."""
    if rate.kind == "Pods":
        return at_start + rate.value if up else at_start - rate.value
    # Rounded away from where it began in both directions: a rate of a few per cent must be able to change one pod.
    # From none up to one: so many per cent of nothing would be nothing for ever, and drafts do go to 0.
    return max(1, math.ceil(at_start * (1 + rate.value / 100))) if up else int(at_start * (1 - rate.value / 100))
