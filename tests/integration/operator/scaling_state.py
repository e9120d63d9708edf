"""What the tests of the autoscaler set, and what they look at: the load of the pods, bounds, replicas."""

from __future__ import annotations

from typing import Any

from cluster.kubectl import Kubectl
from cluster.kubelet import Kubelet
from integration.operator.cluster_state import NAME
from support.pod_pages import Load

# More than a target of eight places can do, whatever it is judged by.
SURGE = Load(running=8, waiting=40, tokens_per_s=400, requests_per_s=8, ttft_s=9.0, itl_s=0.2)
BUSY = Load(running=4, tokens_per_s=200, requests_per_s=1, ttft_s=0.2, itl_s=0.02)
IDLE = Load()


def rules(window_s: int) -> dict[str, Any]:
    quick = {"policies": [{"type": "Pods", "value": 8, "periodSeconds": 1}]}
    return {
        "scaleUp": {"stabilizationWindowSeconds": 0, **quick},
        "scaleDown": {"stabilizationWindowSeconds": window_s, **quick},
    }


def autoscaling(window_s: int = 3, mode: str = "Active", **roles: tuple[int, int]) -> dict[str, Any]:
    scaled = {
        role: {"minReplicas": least, "maxReplicas": most, "behavior": rules(window_s)}
        for role, (least, most) in roles.items()
    }
    return {"mode": mode, **scaled, "slo": {"ttftP95": "2s", "itlP95": "50ms"}}


def set_load(kubelet: Kubelet, load: Load) -> None:
    """All targets fare so from now on."""
    kubelet.load = load
    for target in kubelet.targets.values():
        target.load = load


def replicas(kubectl: Kubectl, namespace: str, role: str) -> int | None:
    """None while it is not there."""
    path = "jsonpath={.spec.replicas}"
    found = kubectl("get", "deployment", f"{NAME}-{role}", "-n", namespace, "--ignore-not-found", "-o", path)
    return int(found) if found else None


def until_scaled(kubectl: Kubectl, namespace: str, role: str, wanted: int) -> None:
    kubectl.until(lambda: replicas(kubectl, namespace, role) == wanted, f"{role}: {wanted} replicas")
