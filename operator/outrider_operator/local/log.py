"""What a role's log says about why it ended. A log that was deleted says nothing."""

import json
from pathlib import Path

ERROR = ": error: "
TAIL_BYTES = 64 * 1024


def size_bytes(log: Path) -> int:
    """Where a log ends now, 0 when there is none yet."""
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def lines_since(log: Path, offset_bytes: int) -> list[str]:
    """The lines written after the offset, of the last 64 KiB, without empty ones."""
    try:
        with log.open("rb") as file:
            file.seek(max(offset_bytes, size_bytes(log) - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def reason(lines: list[str]) -> str | None:
    """Why a process says that it ended: its last error line, else the last line; None if silent."""
    for line in reversed(lines):
        if ERROR in line and not line.startswith("{"):
            return line.split(ERROR, 1)[1]
    return _readable(lines[-1]) if lines else None


def _readable(line: str) -> str:
    """The event of a structured line, any other line as it is."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict):
        return line
    return ": ".join(str(entry[key]) for key in ("event", "error", "exception") if entry.get(key)) or line
