"""What a person sees at the end of a load benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.tables import busy, mark, number, percent, times

Json = Mapping[str, Any]


def show(screen: Console, report: Json) -> None:
    if report["points"]:
        screen.print(_points(report))
        screen.print(_latencies(report))
    if report["long_prompt"]:
        screen.print(_long_prompt(report["long_prompt"]))
    screen.print(goals(report))
    for line in busy(report["quiet"]):
        screen.print(line, highlight=False, soft_wrap=True)


def table_of(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _points(report: Json) -> Table:
    heads = ("on\ntok/s", "off\ntok/s", "hf\ntok/s", "on\n/off", "on\n/hf", "tokens\n/step", "nodes\n/step", "wasted")
    table = table_of("Throughput of all streams together", "workload", "streams", "T", *heads)
    for point in report["points"]:
        table.add_row(
            *place(point),
            *(number(point[f"{system}_tok_s"]) for system in point["systems"]),
            Text(times(point["on_off"]), style="bold"),
            Text(times(point["on_hf"]), style="bold"),
            number(point["accepted_per_step"], 2),
            number(point["nodes_per_step"]),
            percent(point["wasted_share"]),
        )
    return table


def _latencies(report: Json) -> Table:
    heads = [f"{system}\n{what}" for what in ("TTFT", "gap") for system in ("on", "off", "hf")]
    table = table_of("Latency, ms: median / p95 / p99, by the client", "workload", "streams", "T", *heads)
    for point in report["points"]:
        table.add_row(
            *place(point),
            *(_spread(of, key) for key in ("ttft_ms", "itl_ms") for of in point["systems"].values()),
        )
    return table


def place(point: Json) -> tuple[str, str, str]:
    return point["category"], str(point["streams"]), f"{point['temperature']:g}"


def _spread(of: Json | None, key: str) -> str:
    return "–" if of is None else " / ".join(number(value, 0) for value in of[key].values())


def _long_prompt(stalls: Json) -> Table:
    heads = ("prompt\ntokens", "read in\ns", "median gap\nbefore, ms", "p99 gap\nduring, ms", "times")
    table = table_of("Running streams while a long prompt is read", "system", "streams", *heads)
    for system, stall in stalls.items():
        table.add_row(
            system,
            str(stall["streams"]),
            str(stall["prompt_tokens"]),
            number(stall["read_s"]),
            number(stall["itl_p50_before_ms"]),
            number(stall["itl_p99_during_ms"]),
            times(stall["p99_over_median"]),
        )
    return table


def goals(report: Json) -> Table:
    table = table_of("Goals", "ratio", "goal", "measured", "", "where")
    for goal in report["goals"]:
        wanted = f"≥ {goal['at_least']:g}×" if "at_least" in goal else f"≤ {goal['at_most']:g}×"
        measured = "not run" if goal["measured"] is None else times(goal["measured"])
        table.add_row(goal["goal"], wanted, measured, mark(goal["met"]), goal["where"] or "")
    return table
