"""`python -m benchmarks.forward`: milliseconds of a forward, by rows."""

from __future__ import annotations

import json as jsons
import statistics
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from outrider_serving import loading
from outrider_serving.cli import FlagError, run
from outrider_serving.engine.thread import EngineThread
from outrider_serving.flags import Dtype, use_own_cores
from rich.console import Console
from rich.table import Table

from benchmarks import tables
from benchmarks.flags import JsonFlag, writable
from benchmarks.forward.contenders import contenders
from benchmarks.machine import DTYPE, describe

PROGRAM = "benchmarks.forward"
EXAMPLES = """\b
Examples, from the folder tests/:
  python -m benchmarks.forward --model hf://HuggingFaceTB/SmolLM2-135M-Instruct --json forward-s.json
  python -m benchmarks.forward --model hf://Qwen/Qwen2.5-Coder-0.5B-Instruct --json draft.json --rows 1,4,8
"""
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(epilog=EXAMPLES)
def forward(
    json: JsonFlag,
    model: Annotated[
        str, typer.Option("--model", help="As for the servers; of Llama's form.")
    ] = "hf://HuggingFaceTB/SmolLM2-135M-Instruct",
    mirror: Annotated[str | None, typer.Option("--model-mirror", envvar="OUTRIDER_MODEL_MIRROR")] = None,
    rows: Annotated[str, typer.Option("--rows", help="Rows of a forward, with commas between.")] = "1,2,4,6,8,16,17,24",
    context: Annotated[int, typer.Option("--context", min=1, help="Tokens in the cache.")] = 256,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often all are run; medians are given.")] = 15,
    dtype: Annotated[Dtype, typer.Option("--dtype")] = DTYPE,
) -> int:
    """Compares the engine's forward with a hand-written one over the same weights and with transformers' own, all in
    one process and in turns.
    """
    writable(json)
    try:
        widths = [int(width) for width in rows.split(",")]
        path = loading.resolve(model, mirror=mirror)
    except ValueError as error:
        raise FlagError("--rows" if "int()" in str(error) else "--model", str(error)) from None
    threads = use_own_cores()
    console = tables.console()
    measured = EngineThread().call(lambda: _measure(path, dtype.value, context, widths, rounds, console))
    report = {
        "benchmark": "forward",
        "model": model,
        "dtype": dtype.value,
        "context_tokens": context,
        "threads": threads,
        "forward_ms": measured,
        "engine_over_hand_written": _ratios(measured, "hand_written"),
        "engine_over_hand_written_packed": _ratios(measured, "hand_written_packed"),
        "engine_over_exact_rows": _ratios(measured, "engine_exact_rows"),
        "machine": describe(),
    }
    json.write_text(jsons.dumps(report, indent=1) + "\n", encoding="utf-8")
    console.print(_table(report))
    return 0


def _measure(
    path: Path, dtype: str, context: int, widths: list[int], rounds: int, console: Console
) -> dict[str, dict[str, float]]:
    """Contender → rows → median milliseconds."""
    torch.manual_seed(0)
    tokens = torch.randint(1000, (context,)).tolist()
    running = {}
    for name, load in contenders(path, dtype, tokens).items():
        console.print(f"loading {name}", style="dim")
        running[name] = load()
    expected = running["transformers"](tokens[:4])
    for name, one in running.items():
        _check(name, one(tokens[:4]), expected)
    taken: dict[str, dict[int, list[float]]] = {name: {width: [] for width in widths} for name in running}
    for _ in range(rounds):
        for width in widths:
            for name, one in running.items():
                started = time.perf_counter()
                one(tokens[:width])
                taken[name][width].append(1000 * (time.perf_counter() - started))
    return {
        name: {str(width): round(statistics.median(each), 2) for width, each in by_width.items()}
        for name, by_width in taken.items()
    }


def _check(name: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    """A fast forward of another model would prove nothing."""
    likeness = torch.nn.functional.cosine_similarity(found.float(), expected.float(), dim=-1).min().item()
    if likeness < 0.97:
        raise FlagError("--model", f"{name} gives other logits than transformers (likeness {likeness:.3f})")


def _ratios(measured: dict[str, dict[str, float]], other: str) -> dict[str, float] | None:
    if other not in measured:
        return None
    return {rows: round(each / measured[other][rows], 3) for rows, each in measured["engine"].items()}


def _table(report: dict[str, Any]) -> Table:
    table = Table(title=f"{report['model']}, {report['dtype']}, context {report['context_tokens']}: ms a forward")
    widths = list(report["forward_ms"]["engine"])
    for heading in ("", *(f"{width} row{'s' if width != '1' else ''}" for width in widths)):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, by_width in report["forward_ms"].items():
        table.add_row(name, *(f"{by_width[width]:.1f}" for width in widths))
    return table


def main() -> None:
    run(app, PROGRAM)


if __name__ == "__main__":
    main()
