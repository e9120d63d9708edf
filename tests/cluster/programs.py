"""The programs of one cluster: each with a log of its own, waited for until it answers, stopped by pid."""

from __future__ import annotations

import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster.errors import NoCluster

START_S = 60


class Programs:
    """Started one after another, and stopped the other way round."""

    def __init__(self, folder: Path) -> None:
        """folder: of the logs, and where they run."""
        self._folder = folder
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, command: Sequence[str | Path], env: dict[str, str] | None = None) -> None:
        """env: the whole environment, where it is to be another than this process' own."""
        log = (self._folder / f"{name}.log").open("ab")
        with log:
            process = subprocess.Popen(
                [str(part) for part in command], stdout=log, stderr=log, cwd=self._folder, env=env
            )
        self._processes.append((name, process))

    def stop(self, name: str) -> None:
        """Ends one program, as a crash would: a test of what survives it starts it again."""
        for index, (known, process) in enumerate(self._processes):
            if known == name:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                del self._processes[index]
                return

    def stop_all(self) -> None:
        for name, _process in list(reversed(self._processes)):
            self.stop(name)

    def signal(self, name: str, number: int) -> None:
        next(process for known, process in self._processes if known == name).send_signal(number)

    def ended(self) -> str | None:
        """What is wrong where one has ended by itself; None while all run."""
        name = next((name for name, process in self._processes if process.poll() is not None), None)
        return None if name is None else f"{name} has ended: {self._said(name)}"

    def wait_for_url(self, name: str, url: str, token: str | None = None) -> None:
        """Until it answers there. Raises NoCluster, with the end of what the program had to say."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        trusting = ssl._create_unverified_context()  # its certificate is made at its first start

        def answers() -> bool:
            try:
                with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=2, context=trusting):
                    return True
            except (urllib.error.URLError, OSError):
                return False

        self.wait(name, answers)

    def wait(self, name: str, holds: Callable[[], bool]) -> None:
        """Until that holds. Raises NoCluster where it does not within a minute, or the program has ended."""
        process = next(process for known, process in self._processes if known == name)
        until = time.monotonic() + START_S
        while time.monotonic() < until and process.poll() is None:
            if holds():
                return
            time.sleep(0.1)
        raise NoCluster(f"{name} did not start: {self._said(name)}")

    def _said(self, name: str) -> str:
        said = (self._folder / f"{name}.log").read_text(errors="replace").strip().splitlines()[-3:]
        return " / ".join(said) or "it said nothing"
