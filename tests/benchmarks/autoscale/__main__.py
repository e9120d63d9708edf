"""The command line of `python -m benchmarks.autoscale`."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer
from outrider_operator.autoscaling.replay.trace import TraceError
from outrider_operator.local.cores import machine_cores
from outrider_serving.cli import FlagError, run

from benchmarks import machine, tables
from benchmarks.autoscale.cases import DATA, Case, Played, cases, play
from benchmarks.autoscale.figure import draw
from benchmarks.autoscale.report import build, show
from benchmarks.flags import FAILED, JsonFlag, writable
from benchmarks.report import write_json
from benchmarks.screen import Screen, duration

PROGRAM = "benchmarks.autoscale"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(epilog="Example: python -m benchmarks.autoscale --json autoscale.json --only conv-1x --pictures")
def autoscale(
    json: JsonFlag,
    traces: Annotated[
        Path | None,
        typer.Option(
            "--traces",
            envvar="TRACES",
            help="Folder with Azure's traces of 2023. Default: shared/data beside the repository.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Only this case, like conv-5x-drift; may be given several times."),
    ] = None,
    seeds: Annotated[
        str,
        typer.Option(
            "--seeds", help="Of the errors in what the simulated pods measure; an odd number: the median is told."
        ),
    ] = "1,2,3,4,5,6,7",
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Draw each case over time beside the JSON, too.")
    ] = False,
) -> int:
    """Replay Azure's traces with Outrider's autoscaler, HPA and KPA on concurrency, and the best fixed fleet.

    \b
    Exit codes
      0    replayed; whether the goals were met is in the table and the JSON
      1    a trace cannot be read
      2    a flag cannot be used
      130  interrupted
    """
    file = writable(json)
    chosen = _chosen(traces or DATA, only or [])
    each = _seeds(seeds)
    screen = Screen(tables.console())
    started_s = time.monotonic()
    played: dict[str, Played] = {}
    about = machine.describe()
    try:
        with screen, ProcessPoolExecutor(_workers(len(chosen)), mp_context=get_context("spawn")) as pool:
            screen.begin(len(chosen))
            running = [pool.submit(play, case, each, _picture(file, case) if pictures else None) for case in chosen]
            for done, future in enumerate(as_completed(running), 1):
                result = future.result()
                played[result.case.name] = result
                ordered = [played[case.name] for case in chosen if case.name in played]
                content = build(ordered, about, each, complete=done == len(chosen))
                write_json(file, content)
                left_s = (time.monotonic() - started_s) / done * (len(chosen) - done)
                screen.step(result.case.name, done, len(chosen), left_s)
    except TraceError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return FAILED
    draw(file.with_suffix(".png"), content["runs"])
    show(screen.console, content)
    screen.console.print(f"replayed in {duration(time.monotonic() - started_s)}: {file}", highlight=False)
    return 0


def _chosen(folder: Path, only: list[str]) -> list[Case]:
    try:
        known = {case.name: case for case in cases(folder)}
    except FileNotFoundError as error:
        raise FlagError("--traces", f"{error}; name the folder of AzureLLMInferenceDataset2023's CSVs") from None
    for name in only:
        if name not in known:
            raise FlagError("--only", f"no case {name}; choose from {', '.join(known)}")
    return [known[name] for name in only or known]


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(each) for each in text.split(",")]
    except ValueError:
        raise FlagError("--seeds", f"{text!r}; give whole numbers with commas between, like 1,2,3") from None
    if len(seeds) % 2 == 0:
        raise FlagError("--seeds", f"{len(seeds)} of them have no middle one; give one more")
    return seeds


def _workers(most: int) -> int:
    return min(most, len(machine_cores()))


def _picture(file: Path, case: Case) -> Path:
    return file.with_name(f"{file.stem}-{case.name}.png")


def main() -> None:
    run(app, PROGRAM)


if __name__ == "__main__":
    main()
