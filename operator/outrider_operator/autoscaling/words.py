"""Figures as the reasons of decisions tell them."""

from __future__ import annotations

import math


def seconds(value_s: float) -> str:
    """`31 ms`, `1.8 s`, `420 s`; a latency without end is told as such."""
    if math.isinf(value_s):
        return "without end"
    if value_s < 1:
        return f"{value_s * 1000:.0f} ms"
    return f"{value_s:.1f} s" if value_s < 10 else f"{value_s:.0f} s"


def percent(share: float) -> str:
    """`96 %`."""
    return "far over 100 %" if share > 99 else f"{share * 100:.0f} %"


def pods(count: int) -> str:
    """`1 pod`, `3 pods`."""
    return f"{count} pod" if count == 1 else f"{count} pods"
