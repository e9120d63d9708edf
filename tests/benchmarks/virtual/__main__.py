"""The command line of `python -m benchmarks.virtual`."""

from __future__ import annotations

from typing import Annotated

import typer
from outrider_serving.cli import FlagError, run
from outrider_serving.flags import use_own_cores

from benchmarks.flags import (
    BOTH,
    LOADS,
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
from benchmarks.load.points import scale_of
from benchmarks.prompts import default_file
from benchmarks.systems import PAIR_Q, Pair
from benchmarks.virtual.kinds import Kind
from benchmarks.virtual.report import System
from benchmarks.virtual.session import Session, Settings

PROGRAM = "benchmarks.virtual"

EXAMPLES = """\b
Examples, from the folder tests/:
  python -m benchmarks.virtual --pair q --json q.json --kind matrix-unit
  python -m benchmarks.virtual --pair q --json one.json --kind gpu --streams 1 --systems on,draft_only,ngrams_only
  python -m benchmarks.virtual --pair s --json s.json --only summarization --only rag
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(epilog=EXAMPLES)
def virtual(
    pair: PairFlag,
    json: JsonFlag,
    prompts: PromptsFlag = None,
    kind: Annotated[
        Kind, typer.Option("--kind", help="Whose forwards are counted; but for this machine's, of pair q's sizes.")
    ] = Kind.HERE,
    streams: Annotated[
        str,
        typer.Option("--streams", help="How many requests at once, point by point; categories with the most up to 8."),
    ] = LOADS,
    systems: Annotated[
        str, typer.Option("--systems", help=f"Which of {', '.join(System)}.")
    ] = f"{System.ON},{System.OFF}",
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Only this workload: mixed, a trace or a category; may be given several times."),
    ] = None,
    temperatures: TemperaturesFlag = BOTH,
    tokens: TokensFlag = 0,
    waves: WavesFlag = 0,
) -> int:
    """Count what speculation earns: the real engines, models and prompts in one process, whose forwards take what a
    machine's of some kind would. Whatever else this machine does, on and off differ by the policy alone.

    \b
    Exit codes
      0    counted; whether the goals were met is in the table and the JSON
      2    a flag cannot be used
      130  interrupted; what was counted until then is in the JSON
    """
    chosen = pair_of(pair)
    if kind is not Kind.HERE and chosen is not PAIR_Q:
        raise FlagError("--kind", f"{kind.value} is known of pair {PAIR_Q.name} alone; leave it out")
    settings = Settings(
        pair=chosen,
        json=writable(json),
        prompts=prompts or default_file(),
        kind=kind,
        scale=scale_of(chosen.name, tokens, waves),
        loads=stream_counts(streams),
        systems=tuple(_system(name, chosen) for name in systems.split(",")),
        temperatures=temperatures_of(temperatures),
        only=tuple(only or ()),
    )
    session = Session(settings)
    use_own_cores()
    session.run()
    return 0


def _system(name: str, pair: Pair) -> System:
    known = [system for system in System if pair.draft or system is not System.DRAFT_ONLY]
    if name not in known:
        raise FlagError("--systems", f"{name!r} is not known of pair {pair.name}; choose from {', '.join(known)}")
    return System(name)


def main() -> None:
    run(app, PROGRAM)


if __name__ == "__main__":
    main()
