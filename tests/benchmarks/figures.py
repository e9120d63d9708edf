"""Medians, ratios and differences. Pure.

A ratio is taken prompt by prompt, and of those the median: systems that ran the same prompt within a minute are
compared, and one prompt that loops or a moment in which the machine was busy does not decide.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.runs import Run
from benchmarks.systems import Case

PARTS = ("forward", "verify", "draft_wait", "host")
Rate = Callable[[Run], float | None]


def tok_s(run: Run) -> float | None:
    return run.tok_s


def decode_tok_s(run: Run) -> float | None:
    return run.decode_tok_s


def of_case(runs: Iterable[Run], case: Case, categories: Collection[str] | None = None) -> list[Run]:
    return [
        run
        for run in runs
        if (run.system, run.temperature) == (case.system, case.temperature)
        and (categories is None or run.category in categories)
    ]


def median_rate(
    runs: Iterable[Run], case: Case, categories: Collection[str] | None = None, rate: Rate = tok_s
) -> float | None:
    """Tokens a second, None when the case was not run."""
    return _median(rate(run) for run in of_case(runs, case, categories))


def ratio(
    runs: Sequence[Run],
    case: Case,
    against: Case,
    categories: Collection[str] | None = None,
    rate: Rate = tok_s,
) -> float | None:
    """How many times as fast: the median over the prompts that both have run, None when there is none."""
    base = {run.place: rate(run) for run in of_case(runs, against, categories)}
    return _median(_quotient(rate(run), base.get(run.place)) for run in of_case(runs, case, categories))


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _quotient(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


def categories_of(runs: Iterable[Run]) -> list[str]:
    """In the order in which they were first run."""
    return list(dict.fromkeys(run.category for run in runs))


def worst_category(runs: Sequence[Run], case: Case, against: Case) -> tuple[str, float] | None:
    """The category with the lowest ratio, and that."""
    found = [(category, ratio(runs, case, against, {category})) for category in categories_of(runs)]
    known = [(category, value) for category, value in found if value is not None]
    return min(known, key=lambda each: each[1], default=None)


@dataclass(frozen=True)
class Speculation:
    """What the target counted over some runs; None where it never happened."""

    accepted_per_step: float | None  # tokens that a step of one sequence emitted, the bonus included
    nodes_per_step: float | None  # proposed tokens that a step verified
    tree_hit_rate: float | None  # trees that the draft had, of those it was asked for
    asked_share: float | None  # steps that asked the draft
    near_tie_share: float | None  # tokens whose second best was within the rounding error
    step_split_ms: dict[str, float] | None  # mean of a step

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Speculation:
        def total(name: str) -> float:
            return sum(run.counters.get(name, 0.0) for run in runs)

        steps = total("decode_sequence_steps")
        split = {part: 1000 * total(f"step_seconds.{part}") / steps for part in PARTS} if steps else None
        return cls(
            accepted_per_step=_share(total("decode_tokens"), steps),
            nodes_per_step=_share(total("spec_decode_num_draft_tokens"), steps),
            tree_hit_rate=_share(total("draft_tree_hits"), total("draft_asked")),
            asked_share=_share(total("draft_asked"), steps),
            near_tie_share=_share(total("spec_decode_num_near_ties"), total("decode_tokens")),
            step_split_ms=split,
        )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """The position from which two answers differ, None when they are the same."""
    for position, (mine, its) in enumerate(zip(one, other, strict=False)):
        if mine != its:
            return position
    return None if len(one) == len(other) else min(len(one), len(other))


def differences(
    runs: Sequence[Run], case: Case, against: Case, encode: Callable[[str], Sequence[int]]
) -> dict[str, Any] | None:
    """How the answers of two systems differ, None when no prompt was run by both.

    `share` counts choices: an answer is compared up to its first difference, after which the two no longer continue the
    same text. Both texts are encoded anew, since systems hand out text and not tokens.
    """
    base = {run.place: encode(run.text) for run in of_case(runs, against)}
    compared = same = 0
    agreements: list[float] = []
    firsts: list[int] = []
    for run in of_case(runs, case):
        if run.place not in base:
            continue
        answer, reference = encode(run.text), base[run.place]
        position = first_difference(answer, reference)
        length = max(len(answer), len(reference))
        same += position is None
        compared += length if position is None else position + 1
        agreements.append(1.0 if position is None else position / length)
        if position is not None:
            firsts.append(position)
    if not agreements:
        return None
    return {
        "share": len(firsts) / compared if compared else 0.0,
        "answers": len(agreements),
        "answers_identical": same,
        "prefix_agreement": sum(agreements) / len(agreements),
        "first_differences": sorted(firsts),
    }
