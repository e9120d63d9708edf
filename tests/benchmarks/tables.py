"""What a person sees at the end: three tables and what they need to be believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.figures import PARTS
from benchmarks.systems import System

# Beyond these the figures are not the systems' own.
BUSY_SHARE = 0.1
WIDTH = 170
Json = Mapping[str, Any]

# The heads of columns, by the names of the JSON.
SHORT_RATIOS = {
    "outrider/outrider_off": "on\n/off",
    "outrider/hf_generate": "on/hf\ngenerate",
    "outrider/hf_assisted": "on/hf\nassisted",
    "outrider_off/hf_generate": "off/hf\ngenerate",
    "outrider_int8/outrider_off": "int8\n/off",
    "outrider/draft_only": "on/draft\nonly",
    "outrider/ngrams_only": "on/ngrams\nonly",
    "own/own_off": "own:\non/off",
    "own_int8/own_off": "own:\nint8/off",
}
# By category only their ratios fit.
RATIO_ONLY = (System.OUTRIDER_INT8, System.DRAFT_ONLY, System.NGRAMS_ONLY, System.OWN_INT8)


def console() -> Console:
    """Wide enough for the tables where there is no terminal to fit into."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=WIDTH)


def show(screen: Console, report: Json) -> None:
    screen.print(_systems(report))
    screen.print(_categories(report))
    screen.print(_goals(report))
    for line in _notes(report):
        screen.print(line, highlight=False, soft_wrap=True)


def _systems(report: Json) -> Table:
    table = Table(title="Systems, greedy, one stream: medians of tok/s, means of a step", title_justify="left")
    table.add_column("system", no_wrap=True)
    for name in ("tok/s", "decode\ntok/s", "tokens\n/step", "nodes\n/step", "tree\nhits"):
        table.add_column(name, justify="right")
    for part in PARTS:
        table.add_column(f"{part.replace('_', ' ')}\nms/step", justify="right")
    for system in _measured(report):
        speculation = report["speculation"].get(system) or {}
        split = report["step_split_ms"].get(system) or {}
        table.add_row(
            system.value,
            number(report[system]),
            number(report["decode_tok_s"][system]),
            number(speculation.get("accepted_per_step"), 2),
            number(speculation.get("nodes_per_step")),
            percent(speculation.get("tree_hit_rate")),
            *(number(split.get(part)) for part in PARTS),
        )
    return table


def _categories(report: Json) -> Table:
    shown = {name: short for name, short in SHORT_RATIOS.items() if name in report["ratios"]}
    systems = [system for system in _measured(report) if system not in RATIO_ONLY]
    table = Table(title="By category: tok/s, and how many times as fast", title_justify="left")
    table.add_column("category", no_wrap=True)
    for system in systems:
        table.add_column(system.value.replace("_", "\n"), justify="right")
    for short in (*shown.values(), "T=1:\non/off"):
        table.add_column(short, justify="right", style="bold")
    table.add_column("tokens\n/step", justify="right")
    for category, of in report["by_category"].items():
        per_step = number(of["accepted_per_step"], 2)
        table.add_row(category, *_figures(of, systems, shown), times(of["temperature_1"]), per_step)
    table.add_section()
    sampled, per_step = report["temperature_1"]["ratio"], number(report["accepted_per_step"], 2)
    table.add_row("all", *_figures(report, systems, shown), times(sampled), per_step)
    return table


def _measured(report: Json) -> list[System]:
    return [system for system in System if report[system] is not None]


def _figures(of: Json, systems: Iterable[System], ratios: Iterable[str]) -> list[str]:
    rates = [number(of[system]) for system in systems]
    return rates + [times(of["ratios"].get(name, {}).get("total")) for name in ratios]


def _goals(report: Json) -> Table:
    table = Table(title="Goals", title_justify="left")
    table.add_column("ratio of tok/s")
    table.add_column("goal", justify="right")
    table.add_column("measured", justify="right")
    table.add_column("")
    for goal in report["goals"]:
        measured = "not run" if goal["measured"] is None else times(goal["measured"])
        table.add_row(goal["goal"], f"≥ {goal['at_least']:g}×", measured, mark(goal["met"]))
    return table


def _notes(report: Json) -> list[Text]:
    return [*_identity(report), *_differing(report), *busy(report["quiet"])]


def _identity(report: Json) -> list[Text]:
    if not report["identity"]:
        return [Text("float32: the same tokens as with speculation off? not run")]
    lines = []
    for phase in report["identity"]:
        what = f"float32, {phase['model']}: the same tokens as with speculation off"
        if phase["identical"] is None:
            lines.append(Text(f"{what}? not run: {phase['why']}"))
            continue
        much = f" ({phase['prompts']} prompts of {phase['tokens']} tokens, greedy and temperature 1)"
        lines.append(Text.assemble(mark(phase["identical"]), f" {what}{much}"))
        lines.append(Text.assemble(mark(phase["identical_to_hf_generate"]), " and, greedy, as transformers generate"))
    return lines


def _differing(report: Json) -> list[Text]:
    lines = []
    for name, of in report["bf16_differences"].items():
        if of is not None:
            lines.append(
                Text(
                    f"bfloat16, {name}: {percent(of['share'], 2)} of choices differ; "
                    f"{of['answers_identical']} of {of['answers']} answers the same, "
                    f"{percent(of['prefix_agreement'])} of an answer before its first difference"
                )
            )
    return lines


def busy(quiet: Json | None) -> list[Text]:
    """What else the processor did, and whether it was too much."""
    if quiet is None:
        return []
    others, foreign = quiet["others_cpu_share_max"], quiet["foreign_cpu_share_median"]
    lines = [
        Text(
            f"while one ran, the waiting systems took at most {percent(others)} of a core; "
            f"what is none of the benchmark's took {percent(foreign)} (median)"
        )
    ]
    if others > BUSY_SHARE or foreign > BUSY_SHARE:
        lines.append(Text("the machine was not quiet: run it again before the figures are used", style="yellow"))
    return lines


def number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}×"


def percent(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def mark(met: bool | None) -> Text:
    if met is None:
        return Text("–")
    return Text("✓", style="green") if met else Text("✗", style="bold red")
