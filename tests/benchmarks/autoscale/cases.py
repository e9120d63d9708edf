"""What is replayed, and one case from start to end: every policy, the others at the best of several settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median_low
from typing import Any

from outrider_operator.autoscaling.policy import Bounds, Policy
from outrider_operator.autoscaling.replay.contest import Contest, Result, best_of
from outrider_operator.autoscaling.replay.fleet import Acceptance, FleetSpec
from outrider_operator.autoscaling.replay.plot import plot
from outrider_operator.autoscaling.replay.start import start_replicas
from outrider_operator.autoscaling.replay.trace import read_trace, sped_up
from outrider_operator.autoscaling.replay.view import heading

DATA = Path(__file__).parents[4] / "shared" / "data"
FILES = {"conv": "azure_llm_2023_conv.csv", "code": "azure_llm_2023_code.csv"}
SPEEDS = (1.0, 5.0)
DRIFTS = (Acceptance(0.8), Acceptance(0.8, 0.3))
# Shares of a target's 64 sequences that HPA and KPA are told to keep in use. Nobody who runs them knows the best one
# beforehand; here each gets the one that was best for it on the very trace that it is judged by.
GOALS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.7)
UTILIZATION = 0.7
MOST_REPLICAS = 32


@dataclass(frozen=True)
class Case:
    """One trace at one speed, with or without drift."""

    trace: str
    file: Path
    speed: float
    acceptance: Acceptance

    @property
    def name(self) -> str:
        drift = "" if self.acceptance.after is None else "-drift"
        return f"{self.trace}-{self.speed:g}x{drift}"


@dataclass(frozen=True)
class Row:
    """What one policy came to; of these the JSON and the tables are made."""

    setting: str
    slo: float
    gpu_hours: float
    flips: int
    late: float
    slow: float
    unended: int
    ttft_p95_s: float | None
    itl_p95_s: float | None
    targets_mean: float
    targets_most: int
    drafts_mean: float
    changes: int

    @classmethod
    def of(cls, result: Result) -> Row:
        of = result.figures
        return cls(
            setting=result.setting,
            slo=of.slo,
            gpu_hours=of.gpu_hours,
            flips=of.flips,
            late=of.late,
            slow=of.slow,
            unended=of.unended,
            ttft_p95_s=of.latencies.ttft_p95_s,
            itl_p95_s=of.latencies.itl_p95_s,
            targets_mean=of.targets_mean,
            targets_most=of.targets_most,
            drafts_mean=of.drafts_mean,
            changes=of.changes,
        )

    @classmethod
    def median(cls, rows: Sequence[Row]) -> Row:
        """Figure by figure, of an odd number of rows of one policy; those without a latency are the slowest."""
        names = [field.name for field in fields(cls) if field.name != "setting"]
        return cls(rows[0].setting, **{name: _median([getattr(row, name) for row in rows]) for name in names})


@dataclass(frozen=True)
class Played:
    """A case and what came of it. at_once: the fewest targets, asked for at the first look, that are within the SLO as
    often as Outrider; at_most: as many as there may be; at_fall: as many, asked for when acceptance falls, where it
    does, by who did as Outrider until then. tried: of HPA and KPA, all that they were set to; of Outrider, each seed.
    """

    case: Case
    requests: int
    length_s: float
    start_replicas: int
    policies: dict[str, Row]
    at_once: Row
    at_most: Row
    at_fall: Row | None
    tried: dict[str, tuple[Row, ...]]


def cases(folder: Path) -> list[Case]:
    """The traces in a folder, at every speed, with and without drift. Raises FileNotFoundError naming one not there."""
    for file in FILES.values():
        if not (folder / file).is_file():
            raise FileNotFoundError(f"{folder / file} is not there")
    return [
        Case(name, folder / file, speed, drift) for name, file in FILES.items() for speed in SPEEDS for drift in DRIFTS
    ]


def play(case: Case, seeds: Sequence[int], picture: Path | None) -> Played:
    """All policies on one case; a picture of them where one is wanted, with the first of the seeds. Raises TraceError.

    Only Outrider goes by what is measured with errors: it is replayed with each seed, an odd number of them, and its
    figures are the medians.
    """
    trace = sped_up(read_trace(case.file), case.speed)
    fleet = FleetSpec(acceptance=case.acceptance)
    policy = Policy(
        target=Bounds(1, MOST_REPLICAS),
        draft=Bounds(0, MOST_REPLICAS),
        ttft_p95_s=fleet.slo.ttft_s,
        itl_p95_s=fleet.slo.itl_s,
        max_depth=fleet.max_depth,
    )
    start = start_replicas(trace, fleet, UTILIZATION, MOST_REPLICAS)
    contest, *again = [Contest(trace, fleet, policy, start, seed) for seed in seeds]
    first = contest.outrider()
    rows = [Row.of(first), *(Row.of(each.outrider()) for each in again)]
    ours = Row.median(rows)
    tried = {"hpa": _all(contest.hpa), "kpa": _all(contest.kpa)}
    others = {name: best_of(results) for name, results in tried.items()}
    others["fixed_best"] = contest.best_fixed(ours.slo)
    if picture is not None:
        plot(picture, f"{case.trace}, {case.speed:g}×: {heading(contest)}", fleet.slo, [first, *others.values()])
    return Played(
        case=case,
        requests=len(trace),
        length_s=trace[-1].arrival_s,
        start_replicas=contest.start,
        policies={"outrider": ours, **{name: Row.of(result) for name, result in others.items()}},
        at_once=Row.of(contest.best_at_once(ours.slo)),
        at_most=Row.of(contest.at_once(MOST_REPLICAS)),
        at_fall=None if case.acceptance.after is None else _median_row(each.at_fall() for each in (contest, *again)),
        tried={"outrider": tuple(rows), **{name: tuple(map(Row.of, found)) for name, found in tried.items()}},
    )


def _median_row(results: Iterable[Result]) -> Row:
    return Row.median([Row.of(result) for result in results])


def _median(values: Sequence[float | None]) -> Any:
    middle = median_low([math.inf if value is None else value for value in values])
    return None if math.isinf(middle) else middle


def _all(run: Callable[[float], Result]) -> Sequence[Result]:
    return [run(goal) for goal in GOALS]
