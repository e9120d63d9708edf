"""The operator on a real API server: kubectl apply, and everything comes about, stays, and goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from integration.operator.conftest import Kubectl, Operator

SAMPLE = Path(__file__).parents[3] / "manifests" / "samples" / "qwen-coder.yaml"
CHILDREN = "deployments,services,serviceaccounts,networkpolicies"
OURS = "app.kubernetes.io/managed-by=outrider-operator"


def children(kubectl: Kubectl, namespace: str) -> dict[str, Any]:
    found = kubectl.read(CHILDREN, "-n", namespace, "-l", OURS)["items"]
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in found}


def condition(kubectl: Kubectl, namespace: str, name: str) -> dict[str, Any]:
    status = kubectl.read("smodel/qwen-coder", "-n", namespace).get("status", {})
    return next((each for each in status.get("conditions", []) if each["type"] == name), {"status": "", "reason": ""})


def pods_are_ready(kubectl: Kubectl, namespace: str) -> None:
    """What kubelets would say: there are none here."""
    for role in ("draft", "target"):
        item = kubectl.read(f"deployment/qwen-coder-{role}", "-n", namespace)
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/qwen-coder-{role}/status"
        item["status"] = {"observedGeneration": item["metadata"]["generation"], **counts}
        kubectl("replace", f"--raw={path}", "-f", "-", stdin=json.dumps(item))


EXPECTED = {
    "Deployment/qwen-coder-draft",
    "Deployment/qwen-coder-target",
    "NetworkPolicy/qwen-coder-draft",
    "NetworkPolicy/qwen-coder-target",
    "Service/qwen-coder-draft",
    "Service/qwen-coder-target",
    "ServiceAccount/qwen-coder-target",
}


def test_a_model_is_applied_repaired_changed_and_deleted(kubectl: Kubectl, operator: Operator, namespace: str) -> None:
    kubectl("apply", "--validate=false", "-n", namespace, "-f", str(SAMPLE))
    kubectl.until(lambda: set(children(kubectl, namespace)) == EXPECTED, "all children")
    kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["status"] == "True", "Accepted")
    assert condition(kubectl, namespace, "Ready")["reason"] == "TargetNotReady"

    uids = {name: item["metadata"]["uid"] for name, item in children(kubectl, namespace).items()}
    kubectl("delete", "service", "qwen-coder-draft", "-n", namespace)
    kubectl.until(lambda: set(children(kubectl, namespace)) == EXPECTED, "the Service is put back")
    after = {name: item["metadata"]["uid"] for name, item in children(kubectl, namespace).items()}
    assert {name for name in uids if uids[name] != after[name]} == {"Service/qwen-coder-draft"}

    path = "{.spec.template.spec.containers[0].image}"
    image = kubectl("get", "deployment", "qwen-coder-target", "-n", namespace, "-o", f"jsonpath={path}")
    kubectl("set", "image", "deployment/qwen-coder-target", "target=another", "-n", namespace)

    def there() -> str:
        return kubectl("get", "deployment", "qwen-coder-target", "-n", namespace, "-o", f"jsonpath={path}")

    kubectl.until(lambda: there() == image, "the image is put back")

    off = '{"spec": {"speculation": {"mode": "Off"}}}'
    kubectl("patch", "smodel", "qwen-coder", "-n", namespace, "--type=merge", "-p", off)
    kubectl.until(lambda: not [name for name in children(kubectl, namespace) if name.endswith("-draft")], "no draft")

    kubectl("delete", "smodel", "qwen-coder", "-n", namespace)
    kubectl.until(lambda: not children(kubectl, namespace), "everything is gone")
