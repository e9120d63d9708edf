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
MOST_STREAMS = 256
LOADS = "1,4,8,16,32"
BOTH = "0,1"  # temperatures

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

TemperaturesFlag = Annotated[
    str, typer.Option("--temperatures", help="Of mixed and of the categories; the traces are run greedily.")
]
TokensFlag = Annotated[
    int, typer.Option("--tokens", min=0, max=1024, help="Tokens of an answer; 0: 24 for q, 48 for s.")
]
WavesFlag = Annotated[int, typer.Option("--waves", min=0, help="Requests a stream; 0: 2.")]


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


def stream_counts(text: str) -> tuple[int, ...]:
    """With commas between. Raises FlagError."""
    return tuple(_stream_count(each) for each in text.split(","))


def _stream_count(text: str) -> int:
    if text.strip().isdecimal() and 0 < int(text) <= MOST_STREAMS:
        return int(text)
    raise FlagError("--streams", f"{text!r} is no number of streams; give some of 1 to {MOST_STREAMS}, like 1,4,8")


def temperatures_of(text: str) -> tuple[float, ...]:
    """With commas between. Raises FlagError."""
    return tuple(_temperature(each) for each in text.split(","))


def _temperature(text: str) -> float:
    try:
        temperature = float(text)
    except ValueError:
        temperature = -1.0
    if not 0 <= temperature <= 2:
        raise FlagError("--temperatures", f"{text!r} is none; give some of 0 to 2, like 0,1")
    return temperature
