"""Commands as processes of their own: a run of `outrider up` and what it prints, and a role alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.waiting import PATIENCE_S, eventually


@contextmanager
def running(role: str, log: Path, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command of a role, target or draft, on one thread; it is ended afterwards."""
    with log.open("wb") as out:
        command = [sys.executable, "-m", f"outrider_serving.{role}.main", *args]
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


class Run:
    """One run: started by `launch`, ended by a signal or by itself."""

    def __init__(self, folder: Path) -> None:
        self.out, self.err = folder / "out", folder / "err"
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Starts it, its output into files."""
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # Ctrl-C for pytest is not for this run: its fixture ends it
            )

    def lines(self) -> list[str]:
        """The whole ones: the last may still be on its way."""
        said = self.out.read_text()
        return said[: said.rfind("\n") + 1].splitlines()

    def errors(self) -> list[str]:
        return self.err.read_text().splitlines()

    def everything_said(self) -> str:
        return self.out.read_text() + self.err.read_text()

    def sees(self, *words: str, times: int = 1) -> str:
        """Waits for a line of output with all the words (the times-th one) and returns it."""

        def look() -> str | None:
            found = [line for line in self.lines() if all(word in line for word in words)]
            return found[times - 1] if len(found) >= times else None

        try:
            return eventually(f"{words} x{times}", look)
        except AssertionError as problem:
            raise AssertionError(f"{problem} in\n{self.everything_said()}") from None

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def exit_code(self) -> int:
        """Waits for the run to end."""
        assert self.process is not None
        return self.process.wait(PATIENCE_S)
