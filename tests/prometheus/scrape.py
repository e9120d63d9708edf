"""PodMonitors and ServiceMonitors as a Prometheus reads them: what the Prometheus operator makes of one.

There is no Prometheus operator among the packages. This is as much of its `promcfg.go` as ours need: the pods or the
endpoints by the API server, those chosen that the selector and the port choose, and the labels that every series gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus.discovery import Discovery, Role, sanitized

Monitor = Mapping[str, Any]
Relabeling = dict[str, Any]


def scrape_config(monitor: Monitor, discovery: Discovery) -> dict[str, Any]:
    build = {"PodMonitor": _pod_monitor, "ServiceMonitor": _service_monitor}[monitor["kind"]]
    return build(monitor, discovery)


def _pod_monitor(monitor: Monitor, discovery: Discovery) -> dict[str, Any]:
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
    return _config(monitor, endpoint, "pod", relabelings, discovery)


def _service_monitor(monitor: Monitor, discovery: Discovery) -> dict[str, Any]:
    (endpoint,) = monitor["spec"]["endpoints"]
    relabelings: list[Relabeling] = [
        *_selected(monitor, "service"),
        _keep("__meta_kubernetes_endpoint_port_name", endpoint["port"]),
        {"source_labels": ["__meta_kubernetes_service_name"], "target_label": "service"},
        *_places(),
        {"source_labels": [_job_label(monitor)], "target_label": "job"},
        {"target_label": "endpoint", "replacement": endpoint["port"]},
    ]
    return _config(monitor, endpoint, "endpoints", relabelings, discovery)


def _job_label(monitor: Monitor) -> str:
    """The name of the Service, or what a label of it says."""
    label = monitor["spec"].get("jobLabel")
    return f"__meta_kubernetes_service_label_{sanitized(label)}" if label else "__meta_kubernetes_service_name"


def _config(
    monitor: Monitor, endpoint: Mapping[str, Any], role: Role, relabelings: list[Relabeling], discovery: Discovery
) -> dict[str, Any]:
    metadata = monitor["metadata"]
    config: dict[str, Any] = {
        "job_name": f"{monitor['kind']}/{metadata['namespace']}/{metadata['name']}",
        "honor_labels": endpoint.get("honorLabels", False),
        "metrics_path": endpoint.get("path", "/metrics"),
        "scheme": endpoint.get("scheme", "http"),
        "http_sd_configs": [{"url": discovery.url(metadata["namespace"], role), "refresh_interval": "1s"}],
        "relabel_configs": relabelings,
    }
    if endpoint.get("tlsConfig", {}).get("insecureSkipVerify"):
        config["tls_config"] = {"insecure_skip_verify": True}
    return config


def _selected(monitor: Monitor, what: str) -> list[Relabeling]:
    found: list[Relabeling] = []
    for name, value in sorted(monitor["spec"]["selector"]["matchLabels"].items()):
        labels = [f"__meta_kubernetes_{what}_{each}_{sanitized(name)}" for each in ("label", "labelpresent")]
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
