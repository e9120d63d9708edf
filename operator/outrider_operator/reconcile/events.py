"""What people are told of a model beside its status: Events, for what has changed and what was put back. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from outrider_operator.reconcile.conditions import ACCEPTED, DRAFT_COMPATIBLE, FAILED, READY, REFUSED, SCALING_ACTIVE
from outrider_operator.reconcile.difference import APPLIED, identity
from outrider_operator.resources.pod import Object

# The server's own limit for a message.
LONGEST_MESSAGE = 1024


@dataclass(frozen=True)
class Said:
    """One event. message: one line for people; never what is in a Secret."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def transitions(before: Iterable[Object], after: Iterable[Object]) -> list[Said]:
    """What a change of the conditions is worth saying: whether the spec is taken, whether the model answers, and what
    keeps scaling and drafting from it.
    """
    old, new = ({each["type"]: each for each in conditions} for conditions in (before, after))
    said = []
    for type_, good in ((ACCEPTED, "Accepted"), (READY, "Ready")):
        now, then = new.get(type_), old.get(type_)
        if now is None or _same(now, then):
            continue
        fine = now["status"] == "True"
        if fine and then is None and type_ == ACCEPTED:
            continue  # that a new model's spec is right is what one expects
        if (
            not fine
            and type_ == READY
            and (then is None or then["status"] != "True")
            and now["reason"] not in (REFUSED, FAILED)
        ):
            continue  # it has not been ready yet, or is not ready for another reason than before
        warns = not fine or now["reason"] == "DraftNotReady"
        reason = good if fine and not warns else f"Not{good}" if not fine else now["reason"]
        said.append(Said("Warning" if warns else "Normal", reason, now["message"][:LONGEST_MESSAGE]))
    return [*said, *_of_scaling(old, new)]


def _of_scaling(old: Mapping[str, Object], new: Mapping[str, Object]) -> list[Said]:
    """Scaling that stops, for whatever reason, and goes on; and a draft that turns out not to fit."""
    said = []
    now, then = new.get(SCALING_ACTIVE), old.get(SCALING_ACTIVE)
    if now is not None and then is not None and not _same(now, then) and "False" in (now["status"], then["status"]):
        reason = "ScalingHeld" if now["status"] == "False" else "ScalingActive"
        said.append(Said("Warning" if now["reason"] == "NoMetrics" else "Normal", reason, now["message"]))
    now, then = new.get(DRAFT_COMPATIBLE), old.get(DRAFT_COMPATIBLE)
    if now is not None and now["status"] == "False" and not _same(now, then):
        said.append(Said("Warning", "DraftIncompatible", now["message"][:LONGEST_MESSAGE]))
    return said


def _same(now: Object, then: Object | None) -> bool:
    """An invalid spec that is changed to another invalid one is told again; how many pods are ready is not."""
    if then is None:
        return False
    told = ("status", "reason", "message") if now["type"] == ACCEPTED else ("status", "reason")
    return all(now[name] == then[name] for name in told)


def repairs(apply: Iterable[Object], there: Sequence[Object], lost: Collection[tuple[str, str]]) -> list[Said]:
    """What is put back as it was. apply: what applying changes. lost: kind and name of what somebody else has
    deleted.
    """
    live = {identity(item): item for item in there}
    said = []
    for item in apply:
        kind, name = identity(item)
        found = live.get((kind, name))
        if found is None and (kind, name) in lost:
            said.append(Said("Warning", "Restored", f"{kind} {name} was deleted by another; it is made again"))
        elif found is not None and _stamp(found) == _stamp(item):
            said.append(Said("Warning", "Repaired", f"{kind} {name} was changed by another; it is put back"))
    return said


def _stamp(item: Object) -> str | None:
    stamp: str | None = (item["metadata"].get("annotations") or {}).get(APPLIED)
    return stamp


def event(model: Object, said: Said, now: datetime) -> Object:
    """The Event as it is created. Its name is the server's to choose."""
    at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = model["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": model["apiVersion"],
            "kind": model["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "type": said.type,
        "reason": said.reason,
        "message": said.message,
        "source": {"component": "outrider-operator"},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
