"""The command line of `python -m benchmarks.load`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from outrider_operator.local.errors import LocalError
from outrider_serving.cli import FlagError, run

from benchmarks.errors import BenchError
from benchmarks.flags import (
    BOTH,
    FAILED,
    LOADS,
    TERMINATED,
    JsonFlag,
    PairFlag,
    PromptsFlag,
    TemperaturesFlag,
    TokensFlag,
    WavesFlag,
    pair_of,
    stream_counts,
    temperatures_of,
    writable,
)
from benchmarks.load.points import Contender, scale_of
from benchmarks.load.session import Session, Settings
from benchmarks.prompts import default_file

PROGRAM = "benchmarks.load"

EXAMPLES = """\b
Examples, from the folder tests/:
  python -m benchmarks.load --pair s --json s.json
  python -m benchmarks.load --pair q --json q.json --streams 1,8 --only mixed --only azure_conv
  python -m benchmarks.load --pair s --json quick.json --streams 2 --only mixed --tokens 8 --systems on,off
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(epilog=EXAMPLES)
def load(
    pair: PairFlag,
    json: JsonFlag,
    prompts: PromptsFlag = None,
    streams: Annotated[str, typer.Option("--streams", help="How many requests at once, point by point.")] = LOADS,
    systems: Annotated[
        str, typer.Option("--systems", help="Which of on, off and hf; hf is transformers' continuous batching.")
    ] = "on,off,hf",
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="Only this workload: mixed, azure_conv, azure_code, long_prompt or a category; may be given several "
            "times.",
        ),
    ] = None,
    temperatures: TemperaturesFlag = BOTH,
    tokens: TokensFlag = 0,
    waves: WavesFlag = 0,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0, help="Repeat all points while another round fits; 0: one round.")
    ] = 0,
) -> int:
    """Compare throughput and latency of many streams: Outrider speculating, Outrider without, and transformers.

    \b
    Exit codes
      0    measured; whether the goals were met is in the table and the JSON
      1    a system failed; what was measured until then is in the JSON
      2    a flag cannot be used
      130  interrupted (143: terminated), likewise
    """
    chosen = pair_of(pair)
    settings = Settings(
        pair=chosen,
        json=writable(json),
        prompts=prompts or default_file(),
        scale=scale_of(chosen.name, tokens, waves),
        loads=stream_counts(streams),
        contenders=tuple(_contenders(systems.split(","))),
        temperatures=temperatures_of(temperatures),
        only=tuple(only or ()),
        minutes=minutes,
    )
    try:
        asyncio.run(Session(settings).run())
    except (BenchError, LocalError) as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return FAILED
    except asyncio.CancelledError:
        return TERMINATED
    return 0


def _contenders(names: Sequence[str]) -> list[Contender]:
    for name in names:
        if name not in list(Contender):
            raise FlagError("--systems", f"{name!r} is not known; choose from {', '.join(Contender)}")
    return [Contender(name) for name in names]


def main() -> None:
    run(app, PROGRAM)


if __name__ == "__main__":
    main()
