"""What an apply says of the replicas of a Deployment that is scaled by others than the spec's replicas. Pure."""

from __future__ import annotations

from outrider_operator.kube.client import FIELD_MANAGER
from outrider_operator.resources.pod import Object


def replicas(deployment: Object) -> int:
    """What a Deployment says. Where it says nothing, it is one pod."""
    said: int = deployment["spec"].get("replicas", 1)
    return said


def without_replicas(deployment: Object) -> Object:
    """The Deployment as it is compared with what is there: however many pods it has, it is as it should be."""
    return {**deployment, "spec": {name: value for name, value in deployment["spec"].items() if name != "replicas"}}


def with_replicas(deployment: Object, first: int, live: Object | None) -> Object:
    """The Deployment as it is applied, so that its replicas stay what they are; `first` where there is none yet.

    A field that server-side apply names no longer goes back to its default, one pod, if nobody else owns it. So the
    replicas are named as they are until another owns them, and left out from then on. (Servers before 1.22 tell of no
    owner but us.)
    """
    if live is not None and {entry["manager"] for entry in owners_of_replicas(live)} - {FIELD_MANAGER}:
        return deployment
    named = first if live is None else replicas(live)
    return {**deployment, "spec": {**deployment["spec"], "replicas": named}}


def owners_of_replicas(item: Object) -> list[Object]:
    """The entries of managedFields that own spec.replicas, each reduced to that."""
    entries = item["metadata"].get("managedFields") or ()
    return [
        {"manager": entry.get("manager", ""), "fieldsV1": {"f:spec": {"f:replicas": {}}}}
        for entry in entries
        if "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})
    ]
