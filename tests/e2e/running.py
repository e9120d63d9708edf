"""`outrider up FILE` as a user runs it: a process of its own, its output, and what its servers say over HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

T = TypeVar("T")
Resource = dict[str, Any]

PATIENCE_S = 180.0  # of a test, on a busy machine; a start takes about ten seconds on two cores
# Carried by every process of a run, so that what it left behind is found however it was started.
MARK = "OUTRIDER_TEST_RUN"


def eventually(what: str, look: Callable[[], T | None]) -> T:
    """The first thing seen that is not None or False; fails with `what` when it never comes."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"never seen: {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Up:
    """One run of `outrider up`. The resource is written as JSON, which is YAML."""

    def __init__(self, folder: Path, resource: Resource) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.resource = resource
        self.url = f"http://127.0.0.1:{resource['spec']['endpoint']['port']}"
        self.name: str = resource["metadata"]["name"]
        self.file = folder / "model.yaml"
        self.file.write_text(json.dumps(resource, indent=2))
        self.logs = folder / "logs"
        self._out, self._err = folder / "out", folder / "err"
        self._mark = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def start(self) -> Self:
        command = [str(Path(sys.executable).with_name("outrider")), "up", str(self.file), "--log-dir", str(self.logs)]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                command,
                env=os.environ | {MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # Ctrl-C for pytest is not for this run: its fixture ends it
            )
        return self

    def ready(self) -> Self:
        """Waits until the target serves and has made up its mind about the draft, if there is one."""
        eventually("a target that is ready", self._is_ready)
        return self

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"it ended before it was ready:\n{self.everything_said()}")
        return self.is_serving() and self.draft_state()["state"] != "Connecting"

    def is_serving(self) -> bool:
        try:
            return self._http.get("/ready").is_success
        except httpx.TransportError:
            return False

    def draft_state(self) -> dict[str, Any]:
        """State, model and reason, as /health of the target has them."""
        state: dict[str, Any] = self._http.get("/health").json()["speculation"]["draft"]
        return state

    def placement(self) -> str:
        placement: str = self._http.get("/health").json()["speculation"]["placement"]
        return placement

    def metrics(self) -> dict[str, float]:
        """Every sample of the target by its name, those with a label of their own summed."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self._http.get("/metrics").text):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
        return found

    def post(self, path: str, content: bytes) -> httpx.Response:
        return self._http.post(path, content=content, headers={"content-type": "application/json"})

    def role(self, role: str) -> psutil.Process:
        """The process of a role; fails when there is not exactly one."""
        [found] = [process for process in self.processes() if f"outrider-{role}" in " ".join(_command(process))]
        return found

    def processes(self) -> list[psutil.Process]:
        """Every process of this run that is there now: `outrider` itself, the roles, and whatever they started."""
        return [process for process in psutil.process_iter() if _mark(process) == self._mark]

    def sees(self, *words: str) -> str:
        """Waits for a line of output with all the words and returns it."""

        def look() -> str | None:
            lines = self._out.read_text().splitlines()
            return next((line for line in lines if all(word in line for word in words)), None)

        try:
            return eventually(f"a line with {words}", look)
        except AssertionError as problem:
            raise AssertionError(f"{problem} in\n{self.everything_said()}") from None

    def errors(self) -> list[str]:
        return self._err.read_text().splitlines()

    def log(self, role: str) -> list[dict[str, Any]]:
        """The structured lines that a role has logged."""
        return [json.loads(line) for line in (self.logs / f"{role}.log").read_text().splitlines()]

    def everything_said(self) -> str:
        logs = sorted(self.logs.glob("*.log")) if self.logs.exists() else []
        return "\n".join(file.read_text() for file in (self._out, self._err, *logs))

    def exit_code(self) -> int:
        """Waits for the run to end by itself."""
        assert self._process is not None
        return self._process.wait(PATIENCE_S)

    def stop(self) -> None:
        """Ctrl-C: fails unless the run ends in order and leaves nothing running."""
        assert self._process is not None
        try:
            self._process.send_signal(signal.SIGINT)
            code = self.exit_code()
            left = self.processes()
        finally:
            self.kill()
        assert code == 0, self.everything_said()
        assert left == []

    def kill(self) -> None:
        """Leaves nothing behind, whatever the test has come to."""
        self._http.close()
        for process in self.processes():
            process.kill()
        if self._process is not None:
            self._process.wait()


@contextmanager
def running(folder: Path, resource: Resource) -> Iterator[Up]:
    """A run that is ready, and ended by Ctrl-C afterwards."""
    up = Up(folder, resource).start()
    try:
        yield up.ready()
    except BaseException:
        up.kill()
        raise
    up.stop()


def _mark(process: psutil.Process) -> str | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get(MARK)
    except psutil.Error:
        return None


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
