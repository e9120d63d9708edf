"""Asks from inside the cluster: by names that its DNS knows, through Services, as an application there does."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from e2e.asking import Answer
from support.waiting import eventually

SCRIPT = Path(__file__).with_name("chat_client.py")
POD = "client"
# What Pod Security's restricted asks of a pod and of a container, and a root that cannot be written to.
POD_SECURITY = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
ANSWERS_S = 600.0


def client_objects(namespace: str, image: str) -> list[dict[str, Any]]:
    """A pod that waits to be asked to ask, as restricted as any other, and its script."""
    script = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": POD, "namespace": namespace},
        "data": {SCRIPT.name: SCRIPT.read_text(encoding="utf-8")},
    }
    container = {
        "name": "client",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", "import time; time.sleep(100000)"],
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "script", "mountPath": "/script", "readOnly": True}],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD, "namespace": namespace},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": POD_SECURITY,
            "containers": [container],
            "volumes": [{"name": "script", "configMap": {"name": POD}}],
        },
    }
    return [script, pod]


class Asking:
    """Requests under way. As a context: ended at its end, and what is under way then is waited for."""

    def __init__(
        self,
        kubectl: Sequence[str],
        namespace: str,
        url: str,
        requests: list[dict[str, Any]],
        at_once: int,
        endless: bool,
    ) -> None:
        """kubectl: the command and the flags that name the cluster. endless: over and over until the end."""
        self.begun: set[int] = set()
        self.answers: list[tuple[int, Answer]] = []
        self.failures: list[str] = []
        command = [*kubectl, "exec", "-i", "-n", namespace, POD, "--", "python3", f"/script/{SCRIPT.name}", url]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reading = threading.Thread(target=self._read)
        self._reading.start()
        self._tell(json.dumps({"requests": requests, "at_once": at_once, "endless": endless}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._process.poll() is None:
            self._tell("end")
        self.wait()

    def wait(self) -> None:
        """Until all is answered. Fails the test where the client itself fails."""
        try:
            code = self._process.wait(ANSWERS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"the client does not end within {ANSWERS_S:.0f} s") from None
        finally:
            self._reading.join(30)
        assert code == 0, self.failures

    def sees_answers(self, more: int) -> None:
        enough = len(self.answers) + more
        eventually(f"{more} answers", lambda: len(self.answers) >= enough or bool(self.failures), ANSWERS_S)

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError):  # nothing of ours
                self.failures.append(line.rstrip())

    def _take(self, said: dict[str, Any]) -> None:
        if "begun" in said:
            self.begun.add(said["begun"])
        elif "answer" in said:
            self.answers.append((said["index"], Answer(**said["answer"])))
        else:
            self.failures.append(said["failure"])
