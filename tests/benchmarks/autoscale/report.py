"""The JSON, the goals and the tables. Pure, but for the console."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.autoscale.cases import GOALS, MOST_REPLICAS, UTILIZATION, Played
from benchmarks.tables import mark

Json = dict[str, Any]
RATIOS = ("of the best other", "of fixed", "flips")
OURS, FIXED, OTHERS = "outrider", "fixed_best", ("hpa", "kpa")
OF_OTHERS, OF_FIXED, FLIPS_AN_HOUR = 0.85, 1.10, 4.0


def build(played: Sequence[Played], machine: Mapping[str, Any], seeds: Sequence[int], *, complete: bool) -> Json:
    """All of it; `runs` in the order of the cases."""
    runs = [_run(each) for each in played]
    return {
        "benchmark": "autoscale",
        "complete": complete,
        "runs": runs,
        "goals": judge(runs) if runs else [],
        "settings": {
            "seeds": list(seeds),
            "concurrency_goals": list(GOALS),
            "start_utilization": UTILIZATION,
            "max_replicas": MOST_REPLICAS,
        },
        "machine": machine,
    }


def _run(played: Played) -> Json:
    acceptance = played.case.acceptance
    return {
        "trace": played.case.trace,
        "speed": played.case.speed,
        "drift": None if acceptance.after is None else f"{acceptance.before:g}:{acceptance.after:g}",
        "requests": played.requests,
        "length_s": played.length_s,
        "start_replicas": played.start_replicas,
        "policies": {name: asdict(row) for name, row in played.policies.items()},
        "at_once": asdict(played.at_once),
        "at_most": asdict(played.at_most),
        "at_fall": played.at_fall and asdict(played.at_fall),
        "tried": {name: [asdict(row) for row in rows] for name, rows in played.tried.items()},
    }


def best_other(run: Json) -> Json:
    """Of HPA and KPA, each at its best setting, the one with the better attainment; of equals the cheaper."""
    others: list[Json] = [run["policies"][name] for name in OTHERS]
    return max(others, key=lambda row: (row["slo"], -row["gpu_hours"]))


def slo_over_others(run: Json) -> float:
    found: float = run["policies"][OURS]["slo"] - best_other(run)["slo"]
    return found


def hours_over_others(run: Json) -> float:
    found: float = run["policies"][OURS]["gpu_hours"] / best_other(run)["gpu_hours"]
    return found


def hours_over_fixed(run: Json) -> float:
    found: float = run["policies"][OURS]["gpu_hours"] / run["policies"][FIXED]["gpu_hours"]
    return found


def flips_an_hour(run: Json) -> float:
    """Of a replay shorter than an hour as many as there were: four within twelve minutes are not twenty."""
    found: float = run["policies"][OURS]["flips"] / max(1.0, run["length_s"] / 3600)
    return found


def judge(runs: Sequence[Json]) -> list[Json]:
    """Each goal where it is met least; `met_in` of how many runs."""
    return [
        _goal("within SLO, over the best of HPA and KPA", "at_least", 0.0, runs, slo_over_others),
        _goal("GPU-hours / those of that one", "at_most", OF_OTHERS, runs, hours_over_others),
        _goal("GPU-hours / the best fixed fleet's in hindsight", "at_most", OF_FIXED, runs, hours_over_fixed),
        _goal("flips of speculation an hour", "at_most", FLIPS_AN_HOUR, runs, flips_an_hour),
    ]


def _goal(what: str, kind: str, bound: float, runs: Sequence[Json], of: Callable[[Json], float]) -> Json:
    least = kind == "at_least"
    worst = (min if least else max)(runs, key=of)
    met = [of(run) >= bound if least else of(run) <= bound for run in runs]
    return {
        "goal": what,
        kind: bound,
        "measured": of(worst),
        "met": all(met),
        "met_in": f"{sum(met)} of {len(met)}",
        "where": name(worst),
    }


def name(run: Json) -> str:
    drift = f", {run['drift']}" if run["drift"] else ""
    return f"{run['trace']} {run['speed']:g}×{drift}"


def show(console: Console, content: Json) -> None:
    console.print(_policies(content["runs"]))
    console.print(_goals(content["goals"]))


def _policies(runs: Sequence[Json]) -> Table:
    table = Table(title="Within SLO / GPU-hours", title_justify="left")
    table.add_column("trace", no_wrap=True)
    for head in (OURS, *OTHERS, "fixed, hindsight", "at once, hindsight", "all at once", "all at the fall", *RATIOS):
        table.add_column(head, justify="right")
    for run in runs:
        table.add_row(
            name(run),
            *(_cell(run["policies"][policy]) for policy in (OURS, *OTHERS, FIXED)),
            _cell(run["at_once"]),
            f"{run['at_most']['slo']:.1%}",
            f"{run['at_fall']['slo']:.2%}" if run["at_fall"] else "–",
            f"{hours_over_others(run):.2f}",
            f"{hours_over_fixed(run):.2f}",
            str(run["policies"][OURS]["flips"]),
        )
    return table


def _cell(row: Json) -> str:
    setting = "" if row["setting"] == "SLO" else f" ({row['setting']})"
    return f"{row['slo']:.1%} / {row['gpu_hours']:.1f}{setting}"


def _goals(goals: Sequence[Json]) -> Table:
    table = Table(title="Goals, where each is met least", title_justify="left")
    for head in ("what", "goal", "measured", "", "met in", "where"):
        table.add_column(head)
    for goal in goals:
        bound = f"≥ {goal['at_least']:g}" if "at_least" in goal else f"≤ {goal['at_most']:g}"
        measured = f"{goal['measured']:.3f}"
        table.add_row(goal["goal"], bound, measured, mark(goal["met"]), goal["met_in"], goal["where"])
    return table
