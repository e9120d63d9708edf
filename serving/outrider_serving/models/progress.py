"""How far a preparation or a download is: bars on a terminal, lines when piped."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Protocol, Self

import structlog
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import (
    Progress as Bars,
)

MEGABYTE = 1_000_000
LOG_PERIOD_S = 10.0


class Progress(Protocol):
    """What fetching and converting report to; called from several threads."""

    def part(self, name: str, done_bytes: int, total_bytes: int) -> None:
        """`done_bytes` of part `name` are there; a part is whole when this is called with the total."""

    def note(self, line: str) -> None:
        """One line about a step that has begun or ended."""


class TerminalProgress:
    """A bar for all parts of a model together, and one for each part on its way."""

    def __init__(self, console: Console, title: str, total_bytes: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bars = Bars(*columns, TimeRemainingColumn(), console=console)
        self._all = self._bars.add_task(title, total=total_bytes)
        self._parts: dict[str, TaskID] = {}
        self._done_bytes: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def part(self, name: str, done_bytes: int, total_bytes: int) -> None:
        done_bytes = min(done_bytes, total_bytes)
        if name not in self._parts:
            self._parts[name] = self._bars.add_task(f"  {name}", total=total_bytes)
        self._bars.update(self._parts[name], completed=done_bytes, visible=done_bytes < total_bytes)
        self._done_bytes[name] = done_bytes
        self._bars.update(self._all, completed=sum(list(self._done_bytes.values())))

    def note(self, line: str) -> None:
        self._bars.console.print(line, highlight=False)


class PlainProgress:
    """One line per part that has arrived, for logs and pipes."""

    def __init__(self, console: Console, title: str, total_bytes: int) -> None:
        self._console = console
        self._title = title
        self._total_bytes = total_bytes
        self._whole_bytes: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def part(self, name: str, done_bytes: int, total_bytes: int) -> None:
        if done_bytes < total_bytes or name in self._whole_bytes:
            return
        self._whole_bytes[name] = total_bytes
        there = sum(list(self._whole_bytes.values())) / MEGABYTE
        self.note(f"{self._title}: {name} ({there:.0f} of {self._total_bytes / MEGABYTE:.0f} MB)")

    def note(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


class LogProgress:
    """JSON lines for a container's log: each file that is whole, and every ten seconds how far all of them are."""

    def __init__(self, title: str, total_bytes: int) -> None:
        self._log = structlog.get_logger().bind(model=title, total_mb=round(total_bytes / MEGABYTE))
        self._done_bytes: dict[str, int] = {}
        self._lock = threading.Lock()
        self._due_s = time.monotonic() + LOG_PERIOD_S

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def part(self, name: str, done_bytes: int, total_bytes: int) -> None:
        with self._lock:
            self._done_bytes[name] = done_bytes
            there_mb = round(sum(self._done_bytes.values()) / MEGABYTE)
            if done_bytes == total_bytes:
                self._log.info("file fetched", file=name, done_mb=there_mb)
            elif time.monotonic() >= self._due_s:
                self._due_s = time.monotonic() + LOG_PERIOD_S
                self._log.info("fetching", done_mb=there_mb)

    def note(self, line: str) -> None:
        self._log.info(line)
