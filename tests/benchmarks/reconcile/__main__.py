"""The command line of `python -m benchmarks.reconcile`."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer
from cluster.errors import NoCluster
from outrider_serving.cli import FlagError, run

from benchmarks import tables
from benchmarks.errors import BenchError
from benchmarks.flags import FAILED, JsonFlag, writable
from benchmarks.reconcile.session import Session, Settings
from benchmarks.screen import Screen

PROGRAM = "benchmarks.reconcile"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(epilog="Example: python -m benchmarks.reconcile --json operator.json --models 50,200 --rest-s 30")
def reconcile(
    json: JsonFlag,
    models: Annotated[str, typer.Option("--models", help="How many at once, one number after another.")] = "50,200,500",
    rest_s: Annotated[float, typer.Option("--rest-s", min=1, help="How long nothing happens, for each number.")] = 300,
    changes: Annotated[int, typer.Option("--changes", min=1, help="Single changes, for the median.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Of which models are changed.")] = 1,
) -> int:
    """Apply many SpeculativeModels at once to a real API server, and measure what the operator makes of it.

    \b
    Exit codes
      0  every goal met
      1  one was not, or the operator failed; the JSON has what was measured
      2  a flag cannot be used, or there is no test cluster
    """
    settings = Settings(writable(json), _numbers(models), rest_s, changes, seed)
    try:
        return 0 if asyncio.run(Session(settings, Screen(tables.console())).run()) else FAILED
    except NoCluster as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return 2
    except BenchError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return FAILED


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise FlagError("--models", f"{text!r} is no list of numbers above 0; write it as 50,200,500")
    return numbers


def main() -> None:
    run(app, PROGRAM)


if __name__ == "__main__":
    main()
