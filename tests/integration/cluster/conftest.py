"""The commands against an API server of the tests' own: what they ask, what they print, how they end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from outrider_operator.cli import app
from support.fake_api import FakeApi
from typer.testing import CliRunner, Result

COMMAND = (sys.executable, "-c", "from outrider_operator.cli import main; main()")


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """Empty; KUBECONFIG names it."""
    with FakeApi() as running:
        monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        yield running


def outrider(*args: str) -> Result:
    """Runs a command in this process."""
    return CliRunner().invoke(app, args)


def failed(result: Result) -> str:
    """The one line of a command that could not be carried out."""
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    [line] = result.stderr.splitlines()
    return line.removeprefix("outrider: error: ")


class Start(Protocol):
    """Starts a command as a process of its own, for what goes on until a signal."""

    def __call__(
        self, *args: str, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
    ) -> subprocess.Popen[str]: ...


@pytest.fixture
def start() -> Iterator[Start]:
    """What still runs when the test ends is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*args: str, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "160"}
        command = [*COMMAND, *args]
        started.append(subprocess.Popen(command, env=environment, text=True, stdout=stdout, stderr=stderr))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()
