"""Flags that all benchmarks have, and what they end with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from outrider_serving.cli import FlagError

from benchmarks.systems import PAIRS, Pair

FAILED = 1
TERMINATED = 143

PairFlag = Annotated[
    str, typer.Option("--pair", help="q: Qwen2.5-Coder 1.5B and its 0.5B draft. s: SmolLM2 135M and n-grams.")
]
JsonFlag = Annotated[Path, typer.Option("--json", help="Where the figures go; written after every run.")]
PromptsFlag = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        help="JSON lines of Spec-Bench's form. Default: shared/data/spec_bench_even.jsonl beside the repository, "
        "else prompts.jsonl here.",
    ),
]


def pair_of(name: str) -> Pair:
    """Raises FlagError."""
    if name not in PAIRS:
        raise FlagError("--pair", f"{name} is not known; choose {' or '.join(PAIRS)}")
    return PAIRS[name]


def writable(file: Path) -> Path:
    """The absolute path of a file to be. Raises FlagError."""
    if not file.parent.is_dir() or not os.access(file.parent, os.W_OK) or file.is_dir():
        raise FlagError("--json", f"{file} cannot be written; name a file in a folder that can")
    return file.absolute()
