"""Objects of a cluster as the API server has them, of one model `qwen-coder` in namespace `chat` and its like."""

from __future__ import annotations

from typing import Any

from outrider_operator.resources.pod import Object

LABELS = {"app.kubernetes.io/name": "outrider", "app.kubernetes.io/managed-by": "outrider-operator"}
RUNNING = {"running": {"startedAt": "2026-11-20T10:00:05Z"}}
ANSWERS = ("Serving", "answers")
WAITS = ("TargetNotReady", "target: 0 of 1 of the newest revision ready")
PORTS = {"target": 8000, "draft": 9400}


def model(
    name: str = "qwen-coder", namespace: str = "chat", ready: str | None = "True", **status: Any
) -> dict[str, Any]:
    """ready: the status of its condition Ready; None: the operator has not looked at it."""
    said = {
        "observedGeneration": 2,
        "url": f"http://{name}-target.{namespace}.svc:8000",
        "conditions": [
            condition("Accepted", "True", "Valid", "the spec keeps all rules"),
            condition("Ready", ready or "", *(ANSWERS if ready == "True" else WAITS)),
        ],
        **status,
    }
    spec = {"target": {"model": {"uri": "hf://org/big"}}, "draft": {"model": {"uri": "hf://org/small"}}}
    return {
        "apiVersion": "outrider.dev/v1alpha1",
        "kind": "SpeculativeModel",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{namespace}-{name}",
            "generation": 2,
            "creationTimestamp": "2026-11-20T10:00:00Z",
        },
        "spec": spec,
        **({"status": said} if ready is not None else {}),
    }


def condition(type_: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {
        "type": type_,
        "status": status,
        "observedGeneration": 2,
        "lastTransitionTime": "2026-11-20T10:01:00Z",
        "reason": reason,
        "message": message,
    }


def deployment(role: str, wanted: int, ready: int, name: str = "qwen-coder", namespace: str = "chat") -> Object:
    labels = {**LABELS, "app.kubernetes.io/instance": name, "app.kubernetes.io/component": role}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{name}-{role}", "namespace": namespace, "labels": labels},
        "spec": {"replicas": wanted},
        "status": {"replicas": wanted, "readyReplicas": ready, "updatedReplicas": wanted},
    }


def pod(
    role: str,
    suffix: str = "6d4f-x2x9z",
    name: str = "qwen-coder",
    namespace: str = "chat",
    state: Object | None = None,
    ready: bool = True,
    https: bool = False,
    **status: Any,
) -> dict[str, Any]:
    """state: of its container, as the kubelet has it; running where none is given, no status at all where it is {}."""
    state = RUNNING if state is None else state
    of_container = {"name": role, "ready": ready and "running" in state, "restartCount": 0, "state": state, **status}
    full = f"{name}-{role}-{suffix}"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": full,
            "namespace": namespace,
            "uid": f"uid-{namespace}-{full}",
            "creationTimestamp": "2026-11-20T10:00:00Z",
            "labels": {**LABELS, "app.kubernetes.io/instance": name, "app.kubernetes.io/component": role},
        },
        "spec": {
            "containers": [
                {
                    "name": role,
                    "ports": [{"name": "http", "containerPort": PORTS[role]}],
                    "readinessProbe": {
                        "httpGet": {"path": "/ready", "port": "http", "scheme": "HTTPS" if https else "HTTP"}
                    },
                }
            ]
        },
        "status": {
            "phase": "Running" if "running" in state else "Pending",
            "containerStatuses": [of_container] if state else [],
        },
    }


def event(about: Object, reason: str, message: str, at: str, type_: str = "Normal", count: int = 1) -> Object:
    metadata = about["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{reason}",
            "namespace": metadata["namespace"],
            "creationTimestamp": "2026-11-20T10:00:00Z",
        },
        "involvedObject": {"kind": about["kind"], "namespace": metadata["namespace"], "name": metadata["name"]},
        "type": type_,
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
        "count": count,
    }
