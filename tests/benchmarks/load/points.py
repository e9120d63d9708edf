"""What is measured under load, point by point, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product

from benchmarks.systems import PAIR_Q, PAIR_S

MIXED = "mixed"
TRACES = ("azure_conv", "azure_code")
LONG_PROMPT = "long_prompt"  # no point of its own: see long_prompt.py
NOT_OF_SPEC_BENCH = (MIXED, *TRACES, LONG_PROMPT)
TEMPERATURES = (0.0, 1.0)


class Contender(StrEnum):
    """The names are the keys of the JSON."""

    ON = "on"  # mode Auto
    OFF = "off"  # mode Off
    HF = "hf"  # transformers continuous batching


@dataclass(frozen=True)
class Point:
    """One workload at one load. Every contender answers the same requests."""

    category: str  # of Spec-Bench, or MIXED, or one of TRACES
    streams: int  # requests that run at once; each that ends is followed by the next
    temperature: float
    requests: int
    contenders: tuple[Contender, ...]

    @property
    def label(self) -> str:
        return f"{self.category}, {self.streams} streams, T={self.temperature:g}"


@dataclass(frozen=True)
class Scale:
    """How much of it a pair can do in its time on two cores."""

    tokens: int  # of every answer, the traces' apart
    fewest_requests: int  # of a point of MIXED, however few its streams
    waves: int  # requests a stream, at least; with one, the last to end alone decides
    category_streams: int  # at how many streams every category is run
    trace_streams: int
    trace_requests: int
    trace_divisor: int  # lengths of the traces are divided by this
    longest_tokens: int  # prompt and answer of one request
    long_prompt_tokens: int  # 0: not run


SCALES: Mapping[str, Scale] = {
    PAIR_Q.name: Scale(
        tokens=24,
        fewest_requests=4,
        waves=2,
        category_streams=8,
        trace_streams=8,
        trace_requests=16,
        trace_divisor=8,
        longest_tokens=1088,
        long_prompt_tokens=0,
    ),
    PAIR_S.name: Scale(
        tokens=48,
        fewest_requests=8,
        waves=2,
        category_streams=8,
        trace_streams=16,
        trace_requests=48,
        trace_divisor=4,
        longest_tokens=4608,
        long_prompt_tokens=4096,
    ),
}


def scale_of(pair: str, tokens: int, waves: int) -> Scale:
    """That of a pair; tokens, waves: others than its own, 0 for those."""
    scale = SCALES[pair]
    return replace(
        scale,
        tokens=tokens or scale.tokens,
        waves=waves or scale.waves,
        fewest_requests=waves or scale.fewest_requests,
    )


def plan(
    scale: Scale,
    loads: Sequence[int],
    categories: Sequence[str],
    contenders: Collection[Contender],
    temperatures: Sequence[float] = TEMPERATURES,
) -> list[Point]:
    """Every load with the mixed workload, then the traces, then every category at one load.

    categories: what is wanted: MIXED, names of TRACES, and categories of Spec-Bench. transformers run with the mixed
    workload and the traces; by category only speculation is the question.
    """
    ours = tuple(contender for contender in Contender if contender in contenders)
    without_hf = tuple(contender for contender in ours if contender is not Contender.HF)
    points = []
    if MIXED in categories:
        points += [
            Point(MIXED, streams, temperature, max(scale.fewest_requests, scale.waves * streams), ours)
            for temperature, streams in product(temperatures, loads)
        ]
    points += [
        Point(trace, min(scale.trace_streams, max(loads)), 0.0, scale.trace_requests, ours)
        for trace in categories
        if trace in TRACES
    ]
    streams = min(scale.category_streams, max(loads))
    points += [
        Point(category, streams, temperature, scale.waves * streams, without_hf)
        for category, temperature in product(categories, temperatures)
        if category not in NOT_OF_SPEC_BENCH and without_hf
    ]
    return points


def order(point: Point, index: int) -> list[Contender]:
    """The contenders of the index-th point: another one first each time, none always after the same one."""
    start = index % len(point.contenders)
    turned = [*point.contenders[start:], *point.contenders[:start]]
    return turned if (index // len(point.contenders)) % 2 == 0 else turned[::-1]
