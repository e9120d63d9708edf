"""`outrider-operator` as a process on a cluster, under the rights of its own ServiceAccount."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families
from support.ports import free_port

from cluster.kubectl import Kubectl

ROOT = Path(__file__).parents[2]
CRD = ROOT / "crds" / "speculativemodels.outrider.dev.yaml"
RBAC = ROOT / "manifests" / "operator" / "rbac.yaml"
QUICK = Path(__file__).with_name("quick_operator.py")
SYSTEM = "outrider-system"
WRITE_VERBS = frozenset({"apply", "create", "delete", "merge", "scale", "status"})


def install(administrator: Kubectl) -> None:
    """The CRD, and the operator's namespace and rights."""
    administrator("apply", "--validate=false", "-f", str(CRD))
    administrator("apply", "-f", "-", stdin=f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {SYSTEM}}}")
    administrator("apply", "-f", str(RBAC))
    administrator("wait", "--for=condition=Established", "crd/speculativemodels.outrider.dev")


def token(administrator: Kubectl, namespace: str, service_account: str) -> str:
    """A token of the account, as a pod gets one."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
    request = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
    made: str = json.loads(administrator("create", f"--raw={path}", "-f", "-", stdin=request))["status"]["token"]
    return made


class Operator:
    """`outrider-operator` as a process."""

    def __init__(self, kubeconfig: Path, log: Path, *flags: str, in_a_hurry: bool = False) -> None:
        """in_a_hurry: its autoscaler takes seconds for what takes minutes."""
        self.port = free_port()
        self.log = log
        self._command = [
            *(sys.executable, *([str(QUICK)] if in_a_hurry else ["-m", "outrider_operator"])),
            *("--host=127.0.0.1", f"--port={self.port}"),
            *(f"--lease-namespace={SYSTEM}", *flags),
        ]
        self._env = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, env=self._env, stdout=log, stderr=log)

    def end(self, kill: bool = False) -> None:
        """Nothing where it has ended already."""
        if self.process is None:
            return
        (self.process.kill if kill else self.process.terminate)()
        self.process.wait(30)
        self.process = None

    def metrics(self) -> dict[str, float]:
        """Name and labels, as written, to the value; none while it does not answer."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text
        except httpx.HTTPError:
            return {}
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {
            sample.name + "".join(f",{name}={value}" for name, value in sorted(sample.labels.items())): sample.value
            for sample in samples
        }

    @property
    def leads(self) -> bool:
        return self.metrics().get("outrider_operator_leader") == 1

    @property
    def writes(self) -> float:
        """Calls that change something on the server."""
        calls = re.compile(r"outrider_operator_api_calls_total,status=2\d\d,verb=(.*)")
        matched = [(calls.fullmatch(name), value) for name, value in self.metrics().items()]
        return sum(value for match, value in matched if match and match[1] in WRITE_VERBS)

    def until_at_rest(self, for_s: float = 2.0, within_s: float = 60.0) -> float:
        """Waits until nothing has been written for so long, and says how often it has written: a status follows what
        the controllers do to Deployments in their own time, and other tests' namespaces are still ending.
        AssertionError where it does not come to rest.
        """
        began_s = since_s = time.monotonic()
        written = self.writes
        while time.monotonic() - since_s < for_s:
            assert time.monotonic() - began_s < within_s, f"still writing after {within_s:g} s"
            time.sleep(0.2)
            if self.writes != written:
                since_s, written = time.monotonic(), self.writes
        return written
