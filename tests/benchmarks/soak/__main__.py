"""The command line of `python -m benchmarks.soak`."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer
from outrider_operator.local.errors import LocalError
from outrider_serving.cli import run

from benchmarks.errors import BenchError
from benchmarks.flags import FAILED, TERMINATED, JsonFlag, PairFlag, PromptsFlag, pair_of, writable
from benchmarks.prompts import default_file
from benchmarks.soak.session import Settings, Soak

PROGRAM = "benchmarks.soak"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(epilog="Example: python -m benchmarks.soak --pair s --minutes 10 --streams 64 --json soak.json")
def soak(
    pair: PairFlag,
    json: JsonFlag,
    prompts: PromptsFlag = None,
    streams: Annotated[int, typer.Option("--streams", min=1, max=1024, help="Requests at once.")] = 64,
    minutes: Annotated[float, typer.Option("--minutes", min=0.1, help="How long.")] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Of what is asked, and when it is cut short.")] = 1,
) -> int:
    """Keep a server busy with requests of any length and temperature; many are stopped, or given up by their clients.

    \b
    Exit codes
      0    no error, resident memory within 3 % of its median after the warm-up, nothing left behind
      1    something of that failed, or a server did; the JSON has what was seen until then
      2    a flag cannot be used
      130  interrupted (143: terminated), likewise
    """
    settings = Settings(pair_of(pair), writable(json), prompts or default_file(), streams, minutes, seed)
    try:
        return 0 if asyncio.run(Soak(settings).run()) else FAILED
    except (BenchError, LocalError) as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return FAILED
    except asyncio.CancelledError:
        return TERMINATED


def main() -> None:
    run(app, PROGRAM)


if __name__ == "__main__":
    main()
