"""`outrider up FILE` as a user runs it: a process of its own, its output, and what its servers say over HTTP."""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families
from support.run import Run
from support.waiting import eventually

Resource = dict[str, Any]

# Carried by every process of a run, so that what it left behind is found however it was started.
MARK = "OUTRIDER_TEST_RUN"


class Up(Run):
    """One run of `outrider up`. The resource is written as JSON, which is YAML."""

    def __init__(self, folder: Path, resource: Resource) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder)
        self.resource = resource
        self.url = f"http://127.0.0.1:{resource['spec']['endpoint']['port']}"
        self.name: str = resource["metadata"]["name"]
        self.file = folder / "model.yaml"
        self.file.write_text(json.dumps(resource, indent=2))
        self.logs = folder / "logs"
        self._mark = uuid.uuid4().hex
        self._http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def start(self, hurried: bool = False) -> Self:
        """hurried: see hurried.py; figures and decisions come as JSON then."""
        outrider = [str(Path(sys.executable).with_name("outrider"))]
        if hurried:
            outrider = [sys.executable, str(Path(__file__).with_name("hurried.py"))]
        arguments = ["up", str(self.file), "--log-dir", str(self.logs), *(["--json"] if hurried else [])]
        self.launch([*outrider, *arguments], os.environ | {MARK: self._mark})
        return self

    def ready(self) -> Self:
        """Waits until the target serves and has made up its mind about the draft, if there is one."""
        eventually("a target that is ready", self._is_ready)
        return self

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
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
        """Every sample of the target by its name, those with a label of their own summed; of those that have a part,
        each as name/part besides.
        """
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self._http.get("/metrics").text):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
                if part := sample.labels.get("part"):
                    found[f"{sample.name}/{part}"] = sample.value
        return found

    def post(self, path: str, content: bytes) -> httpx.Response:
        return self._http.post(path, content=content, headers={"content-type": "application/json"})

    def role(self, role: str) -> psutil.Process:
        """The process of a role; fails when there is not exactly one."""
        [found] = [process for process in self.processes() if f"outrider-{role}" in " ".join(_command(process))]
        return found

    def replicas(self, role: str) -> int:
        """The processes of a role, those included that load or drain."""
        return sum(f"outrider-{role}" in " ".join(_command(process)) for process in self.processes())

    def decisions(self) -> list[dict[str, Any]]:
        """What the autoscaler has decided, the oldest first; of a run whose output is JSON."""
        found: dict[tuple[object, ...], dict[str, Any]] = {}
        for line in self.lines():
            for decision in reversed(json.loads(line)["decisions"]):
                found.setdefault(tuple(decision.values()), decision)
        return list(found.values())

    def processes(self) -> list[psutil.Process]:
        """Every process of this run that is there now: `outrider` itself, the roles, and whatever they started."""
        return [process for process in psutil.process_iter() if _mark(process) == self._mark]

    def log(self, role: str) -> list[dict[str, Any]]:
        """The structured lines that a role has logged."""
        return [json.loads(line) for line in (self.logs / f"{role}.log").read_text().splitlines()]

    def everything_said(self) -> str:
        logs = sorted(self.logs.glob("*.log")) if self.logs.exists() else []
        return "\n".join([super().everything_said(), *(file.read_text() for file in logs)])

    def stop(self) -> None:
        """Ctrl-C: fails unless the run ends in order and leaves nothing running."""
        try:
            self.signal(signal.SIGINT)
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
        if self.process is not None:
            self.process.wait()


@contextmanager
def running(folder: Path, resource: Resource, hurried: bool = False) -> Iterator[Up]:
    """A run that is ready, and ended by Ctrl-C afterwards."""
    up = Up(folder, resource).start(hurried)
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
