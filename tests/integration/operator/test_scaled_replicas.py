"""Replicas on a real API server: who scales a role keeps what was set, through changes of all else and a restart."""

from __future__ import annotations

import json

from cluster.kubectl import Kubectl
from integration.operator.cluster_state import NAME, patch, sample, until_complete
from integration.operator.conftest import StartOperator

AUTOSCALING = {"target": {"minReplicas": 2, "maxReplicas": 8}, "draft": {"maxReplicas": 4}}


def scale(kubectl: Kubectl, namespace: str, role: str, replicas: int) -> None:
    """By the scale subresource, as autoscalers do."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{NAME}-{role}/scale"
    content = json.loads(kubectl("get", "--raw", path))
    content["spec"]["replicas"] = replicas
    del content["metadata"]["resourceVersion"]  # whatever the Deployment's controller writes meanwhile
    kubectl("replace", "--raw", path, "-f", "-", stdin=json.dumps(content))


def replicas(kubectl: Kubectl, namespace: str) -> dict[str, int]:
    found = kubectl.read("deployments", "-n", namespace)["items"]
    return {item["metadata"]["name"].removeprefix(f"{NAME}-"): item["spec"]["replicas"] for item in found}


def change(kubectl: Kubectl, namespace: str, sequences: int) -> None:
    """Of both roles, and waits until the Deployments have it."""
    patch(kubectl, namespace, {role: {"maxNumSeqs": sequences} for role in ("target", "draft")})
    args = "jsonpath={.items[*].spec.template.spec.containers[0].args}"

    def told() -> bool:
        return kubectl("get", "deployments", "-n", namespace, "-o", args).count(f"--max-num-seqs={sequences}") == 2

    kubectl.until(told, "the change")


def test_scaled_roles_stay_as_they_are_scaled(kubectl: Kubectl, start_operator: StartOperator, namespace: str) -> None:
    first = start_operator()
    kubectl.apply(namespace, sample(autoscaling=AUTOSCALING))
    until_complete(kubectl, namespace)
    assert replicas(kubectl, namespace) == {"target": 2, "draft": 1}
    change(kubectl, namespace, 3)
    assert replicas(kubectl, namespace) == {"target": 2, "draft": 1}, "not one, though nobody has scaled them yet"
    scale(kubectl, namespace, "target", 5)
    scale(kubectl, namespace, "draft", 0)
    change(kubectl, namespace, 4)
    assert replicas(kubectl, namespace) == {"target": 5, "draft": 0}
    first.end()
    scale(kubectl, namespace, "target", 6)
    start_operator()
    change(kubectl, namespace, 5)
    assert replicas(kubectl, namespace) == {"target": 6, "draft": 0}
    patch(kubectl, namespace, {"autoscaling": None})
    kubectl.until(lambda: replicas(kubectl, namespace) == {"target": 1, "draft": 1}, "what the spec says")


def test_an_autoscaler_of_a_role_is_left_its_replicas_also_after_a_restart(
    kubectl: Kubectl, start_operator: StartOperator, namespace: str
) -> None:
    first = start_operator()
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
    scaler = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "draft"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{NAME}-draft"},
            "minReplicas": 3,
            "maxReplicas": 5,
        },
    }
    kubectl.apply(namespace, scaler)
    kubectl.until(lambda: replicas(kubectl, namespace)["draft"] == 3, "it has scaled")
    change(kubectl, namespace, 3)
    assert replicas(kubectl, namespace) == {"target": 1, "draft": 3}
    first.end()
    start_operator()
    change(kubectl, namespace, 4)
    assert replicas(kubectl, namespace) == {"target": 1, "draft": 3}
