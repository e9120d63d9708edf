"""Which objects are a model's: what deletes them with it, and what keeps others' from being taken."""

from __future__ import annotations

from outrider_operator.reconcile.store import owner_uid
from outrider_operator.resources.pod import Object


def owned_by(model: Object, item: Object) -> Object:
    """The object with its owner, so that the cluster deletes it after the model."""
    reference = {
        "apiVersion": model["apiVersion"],
        "kind": model["kind"],
        "name": model["metadata"]["name"],
        "uid": model["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {**item, "metadata": {**item["metadata"], "ownerReferences": [reference]}}


def foreign(model: Object, there: Object) -> str:
    """Why an object that is there must not be written: empty where it is the model's own."""
    uid = owner_uid(there)
    if uid == model["metadata"]["uid"]:
        return ""
    kind, name = there["kind"], there["metadata"]["name"]
    whose = "belongs to another" if uid or there["metadata"].get("ownerReferences") else "was there before"
    return f"{kind} {name} {whose}; delete it, or give the model another name"
