"""`python -m benchmarks.decode`: Outrider speculating, Outrider without, and transformers, in one alternating run."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer
from outrider_operator.local.errors import LocalError
from outrider_serving.cli import FlagError, run
from outrider_serving.flags import Dtype

from benchmarks.errors import BenchError
from benchmarks.flags import FAILED, TERMINATED, JsonFlag, PairFlag, PromptsFlag, pair_of, writable
from benchmarks.machine import DTYPE
from benchmarks.prompts import default_file
from benchmarks.session import Session, Settings
from benchmarks.systems import System

PROGRAM = "benchmarks.decode"
FEWEST_TOKENS = 8

EXAMPLES = """\b
Examples, from the folder tests/:
  python -m benchmarks.decode --pair s --json s.json
  python -m benchmarks.decode --pair q --json q.json --per-category 2 --tokens 128
  python -m benchmarks.decode --pair s --json quick.json --per-category 1 --tokens 16 --only writing --no-identity
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(epilog=EXAMPLES)
def decode(
    pair: PairFlag,
    json: JsonFlag,
    prompts: PromptsFlag = None,
    per_category: Annotated[
        int, typer.Option("--per-category", min=0, help="Prompts of each category; 0: 1 for q, 3 for s.")
    ] = 0,
    tokens: Annotated[
        int, typer.Option("--tokens", min=0, max=4096, help="Tokens of every answer; 0: 48 for q, 64 for s.")
    ] = 0,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often all prompts are run.")] = 1,
    draft_dtype: Annotated[
        Dtype, typer.Option("--draft-dtype", help="Of the draft model, Outrider's and transformers'.")
    ] = DTYPE,
    systems: Annotated[
        str, typer.Option("--systems", help="Only these of the systems in README.md, with commas between; none: all.")
    ] = "",
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this category; may be given several times.")
    ] = None,
    with_identity: Annotated[
        bool, typer.Option("--identity/--no-identity", help="Compare tokens in float32 besides, afterwards.")
    ] = True,
    mend_transformers: Annotated[
        bool,
        typer.Option(
            "--mend-transformers/--transformers-as-shipped",
            help="Spare transformers the copy of a whole weight that it makes on CPUs; see README.md.",
        ),
    ] = True,
) -> int:
    """Compare decoding speed in one run, single stream, system after system on every prompt.

    \b
    Exit codes
      0    measured; whether the goals were met is in the table and the JSON
      1    a system failed; what was measured until then is in the JSON
      2    a flag cannot be used
      130  interrupted (143: terminated), likewise
    """
    if 0 < tokens < FEWEST_TOKENS:
        raise FlagError("--tokens", f"{tokens} are too few to time; give {FEWEST_TOKENS} or more")
    chosen = pair_of(pair)
    settings = Settings(
        pair=chosen,
        json=writable(json),
        prompts=prompts or default_file(),
        per_category=per_category or chosen.per_category,
        tokens=tokens or chosen.tokens,
        rounds=rounds,
        draft_dtype=draft_dtype.value,
        systems=tuple(_system(name) for name in systems.split(",") if name),
        only=tuple(only or ()),
        identity=with_identity,
        mend_transformers=mend_transformers,
    )
    try:
        asyncio.run(Session(settings).run())
    except (BenchError, LocalError) as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return FAILED
    except asyncio.CancelledError:
        return TERMINATED
    return 0


def _system(name: str) -> System:
    if name not in list(System):
        raise FlagError("--systems", f"{name} is not known; choose from {', '.join(System)}")
    return System(name)


def main() -> None:
    run(app, PROGRAM)


if __name__ == "__main__":
    main()
