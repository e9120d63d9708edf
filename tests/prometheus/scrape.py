"""PodMonitors and ServiceMonitors as a Prometheus reads them: what the Prometheus operator makes of one.

There is no Prometheus operator among the packages. This is as much of its `promcfg.go` as ours need: the pods or the
endpoints by the API server, those chosen that the selector and the port choose, and the labels that every series gets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

Monitor = Mapping[str, Any]
Relabeling = dict[str, Any]


def scrape_config(monitor: Monitor, kubeconfig: Path) -> dict[str, Any]:
    """kubeconfig: by whose token Prometheus finds the pods."""
    build = {"PodMonitor": _pod_monitor, "ServiceMonitor": _service_monitor}[monitor["kind"]]
    return build(monitor, kubeconfig)


def _pod_monitor(monitor: Monitor, kubeconfig: Path) -> dict[str, Any]:
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    metadata = monitor["metadata"]
    relabelings: list[Relabeling] = [
        {"action": "drop", "source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)"},
        *_selected(monitor, "pod"),
        _keep("__meta_kubernetes_pod_container_port_name", endpoint["port"]),
        *_places(),
        {"target_label": "job", "replacement": f"{metadata['namespace']}/{metadata['name']}"},
        {"target_label": "endpoint", "replacement": endpoint["port"]},
    ]
    return _config(monitor, endpoint, "pod", relabelings, kubeconfig)


def _service_monitor(monitor: Monitor, kubeconfig: Path) -> dict[str, Any]:
    (endpoint,) = monitor["spec"]["endpoints"]
    relabelings: list[Relabeling] = [
        *_selected(monitor, "service"),
        _keep("__meta_kubernetes_endpoint_port_name", endpoint["port"]),
        {"source_labels": ["__meta_kubernetes_service_name"], "target_label": "service"},
        *_places(),
        {"source_labels": [_job_label(monitor)], "target_label": "job"},
        {"target_label": "endpoint", "replacement": endpoint["port"]},
    ]
    return _config(monitor, endpoint, "endpoints", relabelings, kubeconfig)


def _job_label(monitor: Monitor) -> str:
    """The name of the Service, or what a label of it says."""
    label = monitor["spec"].get("jobLabel")
    return f"__meta_kubernetes_service_label_{_sanitized(label)}" if label else "__meta_kubernetes_service_name"


def _config(
    monitor: Monitor, endpoint: Mapping[str, Any], role: str, relabelings: list[Relabeling], kubeconfig: Path
) -> dict[str, Any]:
    metadata = monitor["metadata"]
    config: dict[str, Any] = {
        "job_name": f"{monitor['kind']}/{metadata['namespace']}/{metadata['name']}",
        "honor_labels": endpoint.get("honorLabels", False),
        "metrics_path": endpoint.get("path", "/metrics"),
        "scheme": endpoint.get("scheme", "http"),
        "kubernetes_sd_configs": [_discovery(metadata["namespace"], role, kubeconfig)],
        "relabel_configs": relabelings,
    }
    if endpoint.get("tlsConfig", {}).get("insecureSkipVerify"):
        config["tls_config"] = {"insecure_skip_verify": True}
    return config


def _discovery(namespace: str, role: str, kubeconfig: Path) -> dict[str, Any]:
    content = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
    return {
        "role": role,
        "api_server": cluster["server"],
        "authorization": {"credentials": user["token"]},
        "tls_config": {"ca_file": cluster["certificate-authority"]},
        "namespaces": {"names": [namespace]},
    }


def _selected(monitor: Monitor, what: str) -> list[Relabeling]:
    found: list[Relabeling] = []
    for name, value in sorted(monitor["spec"]["selector"]["matchLabels"].items()):
        labels = [f"__meta_kubernetes_{what}_{each}_{_sanitized(name)}" for each in ("label", "labelpresent")]
        found.append({"action": "keep", "source_labels": labels, "regex": f"({value});true"})
    return found


def _places() -> list[Relabeling]:
    """Where a series is from."""
    return [
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": ["__meta_kubernetes_pod_container_name"], "target_label": "container"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
    ]


def _keep(label: str, value: str) -> Relabeling:
    return {"action": "keep", "source_labels": [label], "regex": value}


def _sanitized(label: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", label)
