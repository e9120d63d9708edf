"""What the scenario looks at in the cluster, without words on the transcript."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from cluster.kubectl import Kubectl
from e2e_cluster.objects import NAMESPACE, Object
from support.waiting import eventually

OURS = "app.kubernetes.io/managed-by=outrider-operator"
KINDS = "deployments,services,serviceaccounts,networkpolicies,configmaps,pods"
# Images are there and models mounted; but many processes start on few cores.
PATIENCE_S = 600.0
# A look is a process of its own, on cores that models need.
LOOKS_EVERY_S = 2.0
# Of the process in a container: its user and group, and whether its root cannot be written to.
WHO = (
    "import json, os; flags = os.statvfs('/').f_flag;"
    "print(json.dumps([os.getuid(), os.getgid(), bool(flags & os.ST_RDONLY)]))"
)


class Look:
    """At one namespace."""

    def __init__(self, kubectl: Kubectl, namespace: str = NAMESPACE) -> None:
        self._kubectl = kubectl
        self._namespace = namespace

    def model(self, name: str) -> Object:
        found: Object = self._kubectl.read(f"smodel/{name}", "-n", self._namespace)
        return found

    def condition(self, name: str, type_: str) -> Object:
        """Empty strings while it is not there, or is of an older spec."""
        model = self.model(name)
        for condition in model.get("status", {}).get("conditions", []):
            if condition["type"] == type_ and condition["observedGeneration"] == model["metadata"]["generation"]:
                return dict(condition)
        return {"status": "", "reason": "", "message": ""}

    def pods(self, selector: str = OURS) -> list[Object]:
        """Those that are not on their way out."""
        found = self._kubectl.read("pods", "-n", self._namespace, "-l", selector)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def pods_of(self, model: str, role: str) -> dict[str, str]:
        """Name to UID."""
        selector = f"app.kubernetes.io/instance={model},app.kubernetes.io/component={role}"
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in self.pods(selector)}

    def ready_replicas(self, deployment: str) -> int:
        found = self._kubectl.read(f"deployment/{deployment}", "-n", self._namespace)
        return int(found["status"].get("readyReplicas", 0))

    def children(self, of: str | None = None) -> list[str]:
        """Kind and name of all that the operator made for a model, or for all; pods that end count."""
        selector = OURS if of is None else f"{OURS},app.kubernetes.io/instance={of}"
        found = self._kubectl.read(KINDS, "-n", self._namespace, "-l", selector)["items"]
        return sorted(f"{item['kind']}/{item['metadata']['name']}" for item in found)

    def who(self, pod: str, container: str) -> tuple[int, int, bool]:
        """UID and GID in a container, and whether its root is read-only."""
        command = ["exec", "-n", self._namespace, pod, "-c", container, "--", "python3", "-c", WHO]
        uid, gid, read_only = json.loads(self._kubectl(*command))
        return uid, gid, read_only

    def until_running(self, pod: str) -> None:
        phase = ["get", "pod", pod, "-n", self._namespace, "-o=jsonpath={.status.phase}"]
        self.until(f"pod {pod} runs", lambda: self._kubectl(*phase) == "Running")

    def until(self, what: str, holds: Callable[[], Any]) -> None:
        """Fails the test with how the pods are where it does not come."""

        def seen() -> bool:
            if holds():
                return True
            time.sleep(LOOKS_EVERY_S)
            return False

        try:
            eventually(what, seen, PATIENCE_S)
        except AssertionError as problem:
            pods = self._kubectl("get", "pods", "-n", self._namespace, "-o", "wide", ok=False)
            raise AssertionError(f"{problem}\n{pods}") from None
