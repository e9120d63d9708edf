"""Who owns the replicas of a Deployment, as server-side apply and the scale subresource have it on an API server."""

from __future__ import annotations

from outrider_operator.kube.client import FIELD_MANAGER
from outrider_operator.resources.pod import Object

DEFAULT_REPLICAS = 1


def owners(deployment: Object) -> set[str]:
    return {entry["manager"] for entry in deployment["metadata"].get("managedFields", ())}


def managed_by(managers: set[str]) -> list[Object]:
    """managedFields, as far as replicas are concerned."""
    owned: Object = {"f:spec": {"f:replicas": {}}}
    return [
        {"manager": each, "operation": "Apply" if each == FIELD_MANAGER else "Update", "fieldsV1": owned}
        for each in sorted(managers)
    ]


def applied(item: Object, live: Object | None) -> Object:
    """The Deployment after an apply of `item`: what it does not name stays while another owns it, else it is 1."""
    others = set() if live is None else owners(live) - {FIELD_MANAGER}
    replicas = item["spec"].get("replicas")
    if replicas is not None:
        changed = live is not None and live["spec"]["replicas"] != replicas
        managers = {FIELD_MANAGER} if changed else {FIELD_MANAGER, *others}
    else:
        managers = others
        replicas = live["spec"]["replicas"] if live is not None and others else DEFAULT_REPLICAS
    return _with_replicas(item, replicas, managers)


def scaled(live: Object, replicas: int, manager: str) -> Object:
    """The Deployment after `manager` has written its scale subresource."""
    before = set() if live["spec"]["replicas"] != replicas else owners(live)
    return _with_replicas(live, replicas, {manager, *before})


def _with_replicas(item: Object, replicas: int, managers: set[str]) -> Object:
    metadata = {**item["metadata"], "managedFields": managed_by(managers)}
    return {**item, "metadata": metadata, "spec": {**item["spec"], "replicas": replicas}}
