"""kubectl, as a person or a script has it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

WAIT_S = 90


class Kubectl:
    """The real kubectl, as one user."""

    def __init__(self, program: Path, kubeconfig: Path, folder: Path) -> None:
        self._command = [str(program), f"--kubeconfig={kubeconfig}", f"--cache-dir={folder}"]

    def __call__(self, *arguments: str, stdin: str | None = None, ok: bool = True) -> str:
        """What it prints. Fails the test with what it says when it fails, unless that is what is wanted."""
        done = subprocess.run(
            [*self._command, *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=WAIT_S
        )
        if ok:
            assert done.returncode == 0, done.stderr
        return done.stdout if ok else done.stdout + done.stderr

    def read(self, *arguments: str) -> Any:
        return json.loads(self("get", *arguments, "-o", "json"))

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Waits for what the cluster is to come to."""
        end = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < end, f"not within {WAIT_S} s: {what}"
            time.sleep(0.1)

    def apply(self, namespace: str, *items: Any) -> None:
        """Servers before 1.25 do not know the rules in CEL, and newer kubectls check against what servers know."""
        self("apply", "--validate=false", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(items))
