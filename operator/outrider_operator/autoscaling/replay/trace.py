"""What clients asked for and when: traces of Azure's form, read and sped up."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

TIME, PROMPT, GENERATED = COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


class TraceError(ValueError):
    """A file that is no trace. One line: file, line number, what is wrong, what to do."""


@dataclass(frozen=True, slots=True)
class Request:
    """arrival_s: since the first request of the trace. generated_tokens: of the answer, the first one included."""

    arrival_s: float
    prompt_tokens: int
    generated_tokens: int


def read_trace(file: Path) -> list[Request]:
    """The requests of a CSV with the columns TIMESTAMP, ContextTokens and GeneratedTokens, as Azure publishes its
    traces, in the order of arrival. Raises TraceError.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(_rows(file, lines))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise TraceError(
            f"{file}: cannot be read ({reason}); name a CSV with the columns {', '.join(COLUMNS)}"
        ) from None
    if not rows:
        raise TraceError(f"{file}: holds no request; name a trace with one at least")
    try:
        rows.sort(key=lambda row: row[0])
    except TypeError:
        raise TraceError(f"{file}: some times have a time zone and some have none; write all alike") from None
    first = rows[0][0]
    return [Request((at - first).total_seconds(), prompt, generated) for at, prompt, generated in rows]


def _rows(file: Path, lines: Iterator[str]) -> Iterator[tuple[datetime, int, int]]:
    reader = csv.DictReader(lines)
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise TraceError(f"{file}:1: no column {missing[0]}; the first line must be {','.join(COLUMNS)}")
    for row in reader:
        place = f"{file}:{reader.line_num}"
        yield (
            _time(place, row[TIME]),
            _tokens(place, PROMPT, row[PROMPT], 0),
            _tokens(place, GENERATED, row[GENERATED], 1),
        )


def _time(place: str, text: str | None) -> datetime:
    try:
        return datetime.fromisoformat((text or "").strip())
    except ValueError:
        raise TraceError(f"{place}: {TIME} {text!r} is no time; write it as 2023-11-16 18:15:46.680590") from None


def _tokens(place: str, column: str, text: str | None, least: int) -> int:
    text = (text or "").strip()
    if not (text.isascii() and text.isdecimal()) or int(text) < least:
        raise TraceError(f"{place}: {column} {text!r} is no number of tokens; write {least} or more")
    return int(text)


def sped_up(trace: Sequence[Request], speed: float, duration_s: float | None = None) -> list[Request]:
    """The same requests `speed` times as dense, and of those the ones that come before duration_s."""
    faster = [Request(each.arrival_s / speed, each.prompt_tokens, each.generated_tokens) for each in trace]
    return faster if duration_s is None else [each for each in faster if each.arrival_s < duration_s]
