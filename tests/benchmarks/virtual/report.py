"""The JSON of a benchmark in virtual time. Pure. README.md explains every key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from support.virtual import Served

from benchmarks.load.points import Point
from benchmarks.load.report import NEVER_BELOW, least, quotient

Json = dict[str, Any]


class System(StrEnum):
    """The names are the keys of the JSON."""

    ON = "on"  # mode Auto: the draft, where the pair has one, and n-grams
    OFF = "off"  # mode Off
    DRAFT_ONLY = "draft_only"  # as on, without n-grams
    NGRAMS_ONLY = "ngrams_only"  # as on, without the draft


@dataclass(frozen=True)
class Result:
    """A point, served by each system once: it would take the same time again."""

    point: Point
    prompt_tokens: int  # median
    tokens: int  # of an answer, median
    served: Mapping[System, Served]


def describe(result: Result) -> Json:
    """One entry of `points`; None where a system was not run."""
    point, served = result.point, result.served
    rates = {system: _tok_s(served.get(system)) for system in System}
    alone = [rate for system in (System.DRAFT_ONLY, System.NGRAMS_ONLY) if (rate := rates[system]) is not None]
    return {
        "category": point.category,
        "streams": point.streams,
        "temperature": point.temperature,
        "requests": point.requests,
        "prompt_tokens": result.prompt_tokens,
        "tokens": result.tokens,
        **{f"{system.value}_tok_s": rates[system] for system in System},
        "on_off": quotient(rates[System.ON], rates[System.OFF]),
        "on_better": quotient(rates[System.ON], max(alone, default=None)),
        **_counted(served.get(System.ON)),
    }


def _tok_s(served: Served | None) -> float | None:
    return None if served is None else sum(map(len, served.tokens)) / served.elapsed_s


def _counted(served: Served | None) -> Json:
    """Of `on`, over its decoding steps."""
    steps = [] if served is None else [step for step in served.steps if step.decoded_sequences]
    sequences = sum(step.decoded_sequences for step in steps)
    if not sequences:
        return dict.fromkeys(("accepted_per_step", "nodes_per_step", "asked_share"))
    return {
        "accepted_per_step": sum(step.decoded_tokens for step in steps) / sequences,
        "nodes_per_step": sum(step.draft_tokens for step in steps) / sequences,
        "asked_share": sum(step.asked > 0 for step in steps) / len(steps),
    }


def build(pair: str, results: Sequence[Result], *, complete: bool) -> Json:
    """All but settings and machines."""
    points = [describe(result) for result in results]
    return {
        "benchmark": "virtual",
        "pair": pair,
        "complete": complete,
        "points": points,
        "goals": [
            least("on / off, the worst of all points", NEVER_BELOW, points, "on_off", lambda _: True),
            least("on / better of draft and n-grams alone, worst", NEVER_BELOW, points, "on_better", lambda _: True),
        ],
    }
