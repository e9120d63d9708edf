"""`outrider-models fetch` as a process of its own, and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.waiting import PATIENCE_S, eventually

# The user's own settings would lead elsewhere.
SETTINGS = ("HF_", "HUGGING", "AWS_", "OUTRIDER_")


class Fetch:
    """One run of the command, its output in a file of its own."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._said = folder / f"{len(list(folder.iterdir()))}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
        command = [sys.executable, "-m", "outrider_serving.models.main", "fetch", *arguments]
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                command,
                env={**inherited, "HF_HOME": str(folder / "home"), **environment},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    def ends(self) -> int:
        return self.process.wait(PATIENCE_S)

    def killed(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)

    def said(self) -> str:
        return self._said.read_text()

    def events(self) -> list[dict[str, Any]]:
        """The lines of its log, but for an error at the end."""
        return [json.loads(line) for line in self.said().splitlines() if line.startswith("{")]

    def says(self, words: str) -> None:
        """Waits for the words."""
        eventually(words, lambda: words in self.said())

    def fails(self) -> str:
        """Waits for its end; the one line that it ends with."""
        assert self.ends() == 2, self.said()
        *_, last = self.said().splitlines()
        assert last.startswith("outrider-models: error: ")
        assert "Traceback" not in self.said()
        return last.removeprefix("outrider-models: error: ")


def parts_of(directory: Path, name: str) -> list[Path]:
    """What there is of a file that is on its way into the folder."""
    return list(directory.parent.glob(f".{directory.name}.*.partial/{name}.part"))


def part_arrived(directory: Path, name: str, at_least_bytes: int) -> int:
    """Waits until so much of a file has been written; how much there is."""

    def look() -> int | None:
        sizes = [part.stat().st_size for part in parts_of(directory, name)]
        return sizes[0] if sizes and sizes[0] >= at_least_bytes else None

    return eventually(f"{at_least_bytes} bytes of {name}", look)
