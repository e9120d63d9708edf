"""What a run does and sees, a line each with its time, as a person would have typed and read it."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path

COMMAND_S = 900


class Transcript:
    """Printed as it is written: a run that hangs shows where."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    def say(self, text: str) -> None:
        for line in text.rstrip().splitlines():
            print(f"{self.length_s:7.1f} s  {line}", flush=True)

    @property
    def length_s(self) -> float:
        return time.monotonic() - self._began_s


class Shell:
    """helm and kubectl: each command goes on the transcript, and what it prints. One that fails fails the test."""

    def __init__(self, transcript: Transcript, kubeconfig: Path, kubectl: Path, helm: Path) -> None:
        self._transcript = transcript
        self._env = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        self._kubectl, self._helm = kubectl, helm

    def helm(self, *arguments: str) -> str:
        return self._run(self._helm, arguments, None)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self._run(self._kubectl, arguments, stdin)

    def _run(self, program: Path, arguments: tuple[str, ...], stdin: str | None) -> str:
        self._transcript.say(f"$ {program.name} {shlex.join(arguments)}")
        done = subprocess.run(
            [str(program), *arguments],
            input=stdin,
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_S,
        )
        self._transcript.say(done.stdout + done.stderr)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr
