"""A line of a pod's log as a person reads it. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.text import Text

LEVEL_COLOURS = {"debug": "dim", "info": "", "warning": "yellow", "error": "red", "critical": "bold red"}
# The role stands before the line already, and the others have a place of their own.
PLACED = frozenset({"timestamp", "level", "event", "role", "exception"})
PLAIN_VALUE = re.compile(r"[^\s\"=]+")
# A pod's log must not move the cursor, nor colour what others say.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Stamped:
    """A line with the time at which the container wrote it; None where the kubelet itself says something."""

    at: datetime | None
    stamp: str
    text: str


def stamped(raw: bytes) -> Stamped:
    """A line as the API server sends it with timestamps: the time to the nanosecond, a blank, the line."""
    line = raw.decode(errors="replace").rstrip("\r\n")
    stamp, _, text = line.partition(" ")
    try:
        at = datetime.fromisoformat(stamp)
    except ValueError:
        return Stamped(None, "", line)
    return Stamped(at, stamp, text) if at.tzinfo is not None else Stamped(None, "", line)


def readable(text: str) -> Text:
    """A JSON line of our own as `time level event key=value`; any other as it is."""
    entry = _entry(text)
    if entry is None:
        return Text(_harmless(text))
    level = str(entry.get("level", ""))
    made = Text()
    clock = _clock(entry.get("timestamp"))
    if clock:
        made.append(f"{clock} ", "dim")
    if level:
        made.append(f"{_harmless(level):<7} ", LEVEL_COLOURS.get(level, ""))
    made.append(_harmless(str(entry["event"])), "bold" if level in ("error", "critical") else "")
    for key, value in entry.items():
        if key not in PLACED:
            made.append(f" {_harmless(key)}=", "dim")
            made.append(_value(value))
    for line in str(entry.get("exception") or "").splitlines():
        made.append(f"\n    {_harmless(line)}", "dim")
    return made


def _entry(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        entry = json.loads(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "event" in entry else None


def _clock(timestamp: object) -> str:
    """The time of day, as the pod wrote it."""
    try:
        return f"{datetime.fromisoformat(str(timestamp)):%H:%M:%S}"
    except ValueError:
        return ""


def _value(value: object) -> str:
    if isinstance(value, str) and PLAIN_VALUE.fullmatch(value):
        return _harmless(value)
    return _harmless(json.dumps(value, ensure_ascii=False))


def _harmless(text: str) -> str:
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def parse_since_s(text: str) -> int:
    """A time span as kubectl has it: 30s, 10m, 1h30m, and 2d besides. Raises ValueError."""
    parts = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    given = parts.groups() if parts is not None else ()
    seconds = sum(int(part or 0) * size for part, size in zip(given, (86400, 3600, 60, 1), strict=False))
    if seconds == 0:
        raise ValueError(text)
    return seconds
