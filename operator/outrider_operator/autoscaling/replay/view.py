"""What `outrider replay` shows: a table, decisions as lines, JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.table import Table

from outrider_operator.autoscaling.decision import Reason
from outrider_operator.autoscaling.replay.contest import Contest, Result
from outrider_operator.autoscaling.replay.figures import minutes
from outrider_operator.autoscaling.replay.simulation import Change
from outrider_operator.resources.pod import Object

NEVER = "–"
HEADS = (
    "within\nSLO",
    "TTFT\np50",
    "TTFT\np95",
    "ITL\np95",
    "targets\nmean",
    "\nmost",
    "drafts\nmean",
    "GPU-\nhours",
    "speculation\nflips",
    "targets\nchanged",
)


def table(results: Sequence[Result]) -> Table:
    """A row a policy."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column("policy", no_wrap=True)
    made.add_column("set to", no_wrap=True)
    for head in HEADS:
        made.add_column(head, justify="right", no_wrap=True)
    for result in results:
        of, latencies = result.figures, result.figures.latencies
        made.add_row(
            result.policy,
            result.setting,
            f"{of.slo:.1%}",
            _seconds(latencies.ttft_p50_s),
            _seconds(latencies.ttft_p95_s),
            _seconds(latencies.itl_p95_s),
            f"{of.targets_mean:.1f}",
            str(of.targets_most),
            f"{of.drafts_mean:.1f}",
            f"{of.gpu_hours:.1f}",
            str(of.flips),
            str(of.changes),
        )
    return made


def heading(contest: Contest) -> str:
    """What was replayed, in a line."""
    trace = contest.trace
    length_min = trace[-1].arrival_s / 60
    acceptance = contest.fleet.acceptance
    drift = "" if acceptance.after is None else f", {acceptance.after:g} from the middle on"
    pods = "target" if contest.start == 1 else "targets"
    return (
        f"{len(trace)} requests in {length_min:.1f} min, acceptance {acceptance.before:g}{drift}; "
        f"begins with {contest.start} {pods}"
    )


def decisions(result: Result) -> Iterator[str]:
    """A line for everything that a decision changed: when, what, and why."""
    for change in result.outcome.changes:
        made = change.decision
        for role, before, after in (
            ("target", change.before.targets, made.target_replicas),
            ("draft", change.before.drafts, made.draft_replicas),
            ("speculation", _on(change.before.speculate), _on(made.speculate)),
        ):
            if before != after:
                yield f"{result.policy} {clock(change.at_s)} {role} {before} → {after}{_why(change, role)}"


def clock(at_s: float) -> str:
    """1:02:03"""
    minutes_, seconds = divmod(round(at_s), 60)
    return f"{minutes_ // 60}:{minutes_ % 60:02}:{seconds:02}"


def as_json(contest: Contest, results: Sequence[Result], speed: float) -> Object:
    """All of it for programs; null where nothing was there to measure."""
    return {
        "requests": len(contest.trace),
        "length_s": contest.trace[-1].arrival_s,
        "speed": speed,
        "seed": contest.seed,
        "start_replicas": contest.start,
        "fleet": asdict(contest.fleet),
        "policies": {result.policy: _result(contest, result) for result in results},
    }


def _result(contest: Contest, result: Result) -> Object:
    return {
        "set_to": result.setting,
        **asdict(result.figures),
        "minutes": [asdict(minute) for minute in minutes(result.outcome, contest.fleet.slo)],
        "decisions": [_decision(change) for change in result.outcome.changes],
    }


def _decision(change: Change) -> Object:
    return {
        "at_s": change.at_s,
        "targets": change.decision.target_replicas,
        "drafts": change.decision.draft_replicas,
        "speculate": change.decision.speculate,
        "reasons": [asdict(reason) for reason in change.decision.reasons],
    }


def _why(change: Change, role: str) -> str:
    found: Reason | None = next((each for each in change.decision.reasons if each.role == role), None)
    return "" if found is None else f" {found.code}: {found.text}"


def _on(speculate: bool) -> str:
    return "on" if speculate else "off"


def _seconds(value_s: float | None) -> str:
    if value_s is None:
        return NEVER
    return f"{value_s * 1000:.0f} ms" if value_s < 1 else f"{value_s:.1f} s"
