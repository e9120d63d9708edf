"""What a person sees at the end of a benchmark in virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.load.tables import goals, place, table_of
from benchmarks.tables import number, percent, times
from benchmarks.virtual.report import System

Json = Mapping[str, Any]


def show(screen: Console, report: Json) -> None:
    if report["points"]:
        screen.print(_points(report))
    screen.print(goals(report))


def _points(report: Json) -> Table:
    rates = [f"{system.value.replace('_', ' ')}\ntok/s" for system in System]
    heads = (*rates, "on\n/off", "on\n/better", "tokens\n/step", "nodes\n/step", "asked")
    table = table_of("Throughput of all streams together, in virtual time", "workload", "streams", "T", *heads)
    for point in report["points"]:
        table.add_row(
            *place(point),
            *(number(point[f"{system.value}_tok_s"]) for system in System),
            Text(times(point["on_off"]), style="bold"),
            Text(times(point["on_better"]), style="bold"),
            number(point["accepted_per_step"], 2),
            number(point["nodes_per_step"]),
            percent(point["asked_share"]),
        )
    return table
