"""The JSON of a load benchmark: a list of points, and what became of the goals. Pure. README.md explains every key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.load.latencies import PERCENTS, Measured, figures
from benchmarks.load.long_prompt import Stall
from benchmarks.load.points import MIXED, Contender, Point
from benchmarks.systems import PAIR_S

Json = dict[str, Any]
NEVER_BELOW = 0.97
HF_STREAMS, HF_TIMES = 32, 1.5
STALL_TIMES = 3.0


@dataclass(frozen=True)
class Result:
    """A point, as far as it was run: one measurement a round."""

    point: Point
    measured: Mapping[Contender, Sequence[Measured]]
    prompt_tokens: int  # median
    tokens: int  # of an answer, median


def describe(result: Result) -> Json:
    """One entry of `points`; None where nothing was run."""
    point = result.point
    of = {contender: figures(rounds) if rounds else None for contender, rounds in result.measured.items()}
    rates = {contender: (of.get(contender) or {}).get("tok_s") for contender in Contender}
    on = of.get(Contender.ON) or {}
    return {
        "category": point.category,
        "streams": point.streams,
        "temperature": point.temperature,
        "requests": point.requests,
        "prompt_tokens": result.prompt_tokens,
        "tokens": result.tokens,
        "rounds": max(map(len, result.measured.values()), default=0),
        **{f"{contender.value}_tok_s": rates[contender] for contender in Contender},
        "on_off": quotient(rates[Contender.ON], rates[Contender.OFF]),
        "on_hf": quotient(rates[Contender.ON], rates[Contender.HF]),
        **{f"ttft_p{percent}_ms": on.get("ttft_ms", {}).get(f"p{percent}") for percent in PERCENTS},
        **{f"itl_p{percent}_ms": on.get("itl_ms", {}).get(f"p{percent}") for percent in PERCENTS},
        **{key: on.get(key) for key in ("accepted_per_step", "nodes_per_step", "wasted_share", "asked_share")},
        "systems": {contender.value: of.get(contender) for contender in Contender},
    }


def quotient(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


def build(pair: str, results: Sequence[Result], stalls: Mapping[Contender, Stall], *, complete: bool) -> Json:
    """All but settings and machine."""
    points = [describe(result) for result in results]
    return {
        "benchmark": "load",
        "pair": pair,
        "complete": complete,
        "points": points,
        "long_prompt": {contender.value: stall.record() for contender, stall in stalls.items()} or None,
        "goals": judge(pair, points, stalls),
        "quiet": quiet(results),
    }


def judge(pair: str, points: Sequence[Json], stalls: Mapping[Contender, Stall]) -> list[Json]:
    """`met` is None when what a goal needs was not run; `where` is the worst point."""
    goals = [least("on / off, the worst of all points", NEVER_BELOW, points, "on_off", lambda _: True)]
    if pair == PAIR_S.name:
        goals += [
            least(
                f"on / hf, {HF_STREAMS} streams",
                HF_TIMES,
                points,
                "on_hf",
                lambda point: point["streams"] == HF_STREAMS and point["category"] == MIXED,
            ),
            _stalled(stalls.get(Contender.ON)),
        ]
    return goals


def least(what: str, at_least: float, points: Sequence[Json], key: str, counts: Callable[[Json], bool]) -> Json:
    known = [point for point in points if point[key] is not None and counts(point)]
    worst = min(known, key=lambda point: point[key], default=None)
    return {
        "goal": what,
        "at_least": at_least,
        "measured": None if worst is None else worst[key],
        "met": None if worst is None else worst[key] >= at_least,
        "where": None
        if worst is None
        else f"{worst['category']}, {worst['streams']} streams, T={worst['temperature']:g}",
    }


def _stalled(stall: Stall | None) -> Json:
    measured = None if stall is None else stall.times
    return {
        "goal": "p99 of gaps while a long prompt is read / their median before",
        "at_most": STALL_TIMES,
        "measured": measured,
        "met": None if measured is None else measured <= STALL_TIMES,
        "where": None if stall is None else "long prompt",
    }


def quiet(results: Sequence[Result]) -> Json | None:
    """Shares of one core that went elsewhere while a contender ran."""
    found = [one for result in results for rounds in result.measured.values() for one in rounds]
    if not found:
        return None
    others = [one.others_cpu_share for one in found]
    foreign = [one.foreign_cpu_share for one in found]
    return {
        "others_cpu_share_max": max(others),
        "others_cpu_share_median": median(others),
        "foreign_cpu_share_max": max(foreign),
        "foreign_cpu_share_median": median(foreign),
    }
