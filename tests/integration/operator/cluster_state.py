"""What the tests of the operator look at, and do by hand what kubelets would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from cluster.kubectl import Kubectl

SAMPLE = Path(__file__).parents[3] / "manifests" / "samples" / "qwen-coder.yaml"
NAME = "qwen-coder"
KINDS = "deployments,services,serviceaccounts,networkpolicies,configmaps,persistentvolumeclaims,ingresses"
OURS = "app.kubernetes.io/managed-by=outrider-operator"
EXPECTED = frozenset(
    {
        "ConfigMap/qwen-coder-control",
        "Deployment/qwen-coder-draft",
        "Deployment/qwen-coder-target",
        "NetworkPolicy/qwen-coder-draft",
        "NetworkPolicy/qwen-coder-target",
        "Service/qwen-coder-draft",
        "Service/qwen-coder-target",
        "ServiceAccount/qwen-coder-target",
    }
)
# Beside them a certificate for each role, the namespace's authority, and the status.
FIRST_WRITES = len(EXPECTED) + 2 + 1 + 1


def sample(**spec: Any) -> dict[str, Any]:
    """The sample, with these fields of its spec in place of its own."""
    model: dict[str, Any] = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
    model["spec"] |= spec
    return model


def children(kubectl: Kubectl, namespace: str) -> dict[str, Any]:
    """Kind and name of everything that the operator made there, to the object."""
    found = kubectl.read(KINDS, "-n", namespace, "-l", OURS)["items"]
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in found}


def until_complete(kubectl: Kubectl, namespace: str) -> None:
    kubectl.until(lambda: set(children(kubectl, namespace)) == EXPECTED, "all children")


def condition(kubectl: Kubectl, namespace: str, type_: str) -> dict[str, Any]:
    """Empty strings while it is not there."""
    status = kubectl.read(f"smodel/{NAME}", "-n", namespace).get("status", {})
    empty = {"status": "", "reason": "", "message": "", "observedGeneration": 0}
    return next((each for each in status.get("conditions", []) if each["type"] == type_), empty)


def patch(kubectl: Kubectl, namespace: str, spec: dict[str, Any]) -> None:
    kubectl("patch", "smodel", NAME, "-n", namespace, "--type=merge", "-p", json.dumps({"spec": spec}))


def events(kubectl: Kubectl, namespace: str) -> list[str]:
    found = kubectl.read("events", "-n", namespace, "--field-selector=involvedObject.kind=SpeculativeModel")["items"]
    return [each["reason"] for each in found]


def pods_are_ready(kubectl: Kubectl, namespace: str) -> None:
    """What kubelets would say: there are none here. The Deployment controller takes it from there."""
    for pod in kubectl.read("pods", "-n", namespace, "-l", OURS)["items"]:
        name = pod["metadata"]["name"]
        now = pod["metadata"]["creationTimestamp"]
        pod["status"] = {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
        }
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        kubectl("replace", f"--raw={path}", "-f", "-", stdin=json.dumps(pod), ok=False)  # it may be gone by now


def until_ready(kubectl: Kubectl, namespace: str) -> None:
    def ready() -> bool:
        pods_are_ready(kubectl, namespace)
        found = condition(kubectl, namespace, "Ready")
        return bool(found["status"] == "True" and found["reason"] == "Serving")

    kubectl.until(ready, "Ready, with its draft")
