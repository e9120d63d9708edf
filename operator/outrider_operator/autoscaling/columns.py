"""The measured columns of a model's status. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from outrider_operator.api.duration import parse_duration_ms
from outrider_operator.autoscaling.observation import Signals

# A change of less says nothing: percentiles wander as much from minute to minute.
NOTICEABLE = 0.1


def columns(signals: Signals | None) -> dict[str, object]:
    """What was measured, rounded; what was not is not there."""
    if signals is None:
        return {}
    numbers = {
        "acceptanceRate": signals.acceptance_rate,
        "acceptedTokensPerStep": signals.tokens_per_step,
        "goodputGain": signals.gain,
    }
    times = {"ttftP95": signals.ttft_p95_s, "itlP95": signals.itl_p95_s}
    return {
        **{name: round(value, 2) for name, value in numbers.items() if value is not None},
        **{name: duration(value) for name, value in times.items() if value is not None},
    }


def duration(seconds: float) -> str:
    """As the resource writes durations, with two digits that count: 83ms, 1.2s."""
    for unit, unit_s in (("s", 1.0), ("ms", 1e-3)):
        rounded = float(f"{seconds / unit_s:.2g}")
        if rounded >= 1:
            return f"{rounded:g}{unit}" if rounded < 1e6 else f"{rounded:.0f}{unit}"
    return f"{seconds * 1e6:.0f}us"


def noticeable(before: Mapping[str, object], after: Mapping[str, object]) -> bool:
    """Whether somebody who looks at it would want to know."""
    if before.keys() != after.keys():
        return True
    return any(_differ(_number(before[name]), _number(after[name])) for name in after)


def _differ(one: float, other: float) -> bool:
    return abs(one - other) > NOTICEABLE * max(abs(one), abs(other))


def _number(value: object) -> float:
    return parse_duration_ms(value) if isinstance(value, str) else float(str(value))
