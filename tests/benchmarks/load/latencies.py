"""From what clients saw of their streams to rates and percentiles. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

PERCENTS = (50, 95, 99)


@dataclass(frozen=True)
class Stream:
    """One request as its client saw it. Seconds since the batch began."""

    sent_s: float
    arrivals_s: tuple[float, ...]  # when a piece of text came; a piece holds one token or, speculating, several
    tokens: int

    @property
    def first_s(self) -> float:
        """Time to the first piece."""
        return self.arrivals_s[0] - self.sent_s

    @property
    def gaps_s(self) -> list[float]:
        return [after - before for before, after in pairwise(self.arrivals_s)]

    @property
    def token_s(self) -> float | None:
        """Mean time of a token after the first one; None where there is only one, or all came at once."""
        last_s = self.arrivals_s[-1] - self.arrivals_s[0]
        return last_s / (self.tokens - 1) if self.tokens > 1 and last_s > 0 else None


@dataclass(frozen=True)
class Batch:
    """All requests of a point through one contender."""

    streams: Sequence[Stream]
    wall_s: float  # from the first request sent to the last token
    counters: Mapping[str, float] = field(default_factory=dict)  # how the target's /metrics moved


@dataclass(frozen=True)
class Measured:
    """A batch, and who used the processor meanwhile. Shares of one core."""

    batch: Batch
    others_cpu_share: float
    foreign_cpu_share: float


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Between the two nearest values, as numpy's default. None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def percentiles_ms(values_s: Sequence[float]) -> dict[str, float | None]:
    return {f"p{percent}": _ms(percentile(values_s, percent)) for percent in PERCENTS}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def tok_s(measured: Sequence[Measured]) -> float | None:
    """Tokens over wall time, all rounds together. None where nothing was run."""
    wall_s = sum(one.batch.wall_s for one in measured)
    tokens = sum(stream.tokens for one in measured for stream in one.batch.streams)
    return tokens / wall_s if wall_s else None


def figures(measured: Sequence[Measured]) -> dict[str, Any]:
    """One contender at one point, all rounds together."""
    streams = [stream for one in measured for stream in one.batch.streams]

    def total(name: str) -> float:
        return sum(one.batch.counters.get(name, 0.0) for one in measured)

    verified = total("spec_decode_num_draft_tokens")
    steps = total("decode_sequence_steps")
    return {
        "tok_s": tok_s(measured),
        "wall_s": sum(one.batch.wall_s for one in measured),
        "tokens": sum(stream.tokens for stream in streams),
        "ttft_ms": percentiles_ms([stream.first_s for stream in streams]),
        "itl_ms": percentiles_ms([gap for stream in streams for gap in stream.gaps_s]),
        "tpot_ms": percentiles_ms([stream.token_s for stream in streams if stream.token_s is not None]),
        "accepted_per_step": total("decode_tokens") / steps if steps else None,
        "nodes_per_step": verified / steps if steps else None,
        "wasted_share": 1 - total("spec_decode_num_accepted_tokens") / verified if verified else None,
        "asked_share": total("draft_asked") / steps if steps else None,
        "others_cpu_share": max(one.others_cpu_share for one in measured),
        "foreign_cpu_share": max(one.foreign_cpu_share for one in measured),
    }
