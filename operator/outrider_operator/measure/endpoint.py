"""Where a pod's container answers, /metrics among others. Pure."""

from __future__ import annotations

from typing import Any


def http_of(container: dict[str, Any]) -> tuple[int | None, bool]:
    """The port of the container's HTTP, and whether it is HTTPS: by its probe, which moves to HTTPS with it."""
    probe = container.get("readinessProbe", {}).get("httpGet", {})
    named = {each.get("name"): each["containerPort"] for each in container.get("ports", ())}
    port = probe.get("port", "http")
    return (named.get(port) if isinstance(port, str) else port), probe.get("scheme") == "HTTPS"
