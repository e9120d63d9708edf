"""A real API server with its controllers, and the operator as a process, under its own ServiceAccount."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.assets import get_assets
from cluster.control_plane import ControlPlane, free_port

ROOT = Path(__file__).parents[3]
CRD = ROOT / "crds" / "speculativemodels.outrider.dev.yaml"
RBAC = ROOT / "manifests" / "operator" / "rbac.yaml"
SYSTEM = "outrider-system"
WAIT_S = 60


class Kubectl:
    """The real kubectl, as one user."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self._kubeconfig = kubeconfig
        self._folder = folder

    def __call__(self, *arguments: str, stdin: str | None = None, ok: bool = True) -> str:
        """What it prints. Fails the test with what it says when it fails, unless that is what is wanted."""
        command = ["kubectl", f"--kubeconfig={self._kubeconfig}", f"--cache-dir={self._folder}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
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


class Operator:
    """`outrider-operator` as a process."""

    def __init__(self, kubeconfig: Path, log: Path, *flags: str) -> None:
        self.port = free_port()
        self.log = log
        self._command = [
            *(sys.executable, "-m", "outrider_operator", "--host=127.0.0.1", f"--port={self.port}"),
            *(f"--lease-namespace={SYSTEM}", *flags),
        ]
        self._env = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, env=self._env, stdout=log, stderr=log)

    def end(self, kill: bool = False) -> None:
        assert self.process is not None
        (self.process.kill if kill else self.process.terminate)()
        self.process.wait(20)
        self.process = None


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    with ControlPlane(get_assets()) as running:
        yield running


@pytest.fixture(scope="session")
def kubectl(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    administrator = Kubectl(control_plane.kubeconfig, tmp_path_factory.mktemp("kubectl"))
    # Servers before 1.25 do not know the rules in CEL, and drop them.
    administrator("apply", "--validate=false", "-f", str(CRD))
    administrator("create", "namespace", SYSTEM)
    administrator("apply", "-f", str(RBAC))
    administrator("wait", "--for=condition=Established", "crd/speculativemodels.outrider.dev")
    return administrator


@pytest.fixture(scope="session")
def operators_kubeconfig(
    control_plane: ControlPlane, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/outrider-operator/token"
    request = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
    answer = kubectl("create", f"--raw={path}", "-f", "-", stdin=request)
    token = json.loads(answer)["status"]["token"]
    return control_plane.kubeconfig_for(token, tmp_path_factory.mktemp("operator") / "kubeconfig")


@pytest.fixture
def operator(operators_kubeconfig: Path, tmp_path: Path) -> Iterator[Operator]:
    running = Operator(operators_kubeconfig, tmp_path / "operator.log")
    running.start()
    yield running
    if running.process is not None:
        running.end()
    print(running.log.read_text(encoding="utf-8"))


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.node.name.replace("_", "-").lower()[:50].rstrip("-")
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")
