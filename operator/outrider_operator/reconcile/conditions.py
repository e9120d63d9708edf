"""The conditions of a model: contracts, each with who sets it, what True means, and when it is absent. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from outrider_operator.resources.pod import Object

State = Literal["True", "False", "Unknown"]

# Set by every reconcile. True: the spec keeps all rules, and nothing else has the names of the model's objects. While
# it is False nothing is written: what ran before runs on.
ACCEPTED = "Accepted"
# Set by every reconcile. True: every pod of the newest revision of the target is ready, and there is at least one;
# while autoscaling adds some (Scaling), as many as it has at least, and none is of an older one.
TARGET_READY = "TargetReady"
# As TargetReady, of the draft. Absent where no draft is to run.
DRAFT_READY = "DraftReady"
# Set by the loop over the pods' metrics. False: a target has refused a draft, in its own words; it serves without.
# Absent where no draft is to run, and until a target has met one.
DRAFT_COMPATIBLE = "DraftCompatible"
# Set by the loop. True: every target that answers speaks with a draft, and may speculate. Absent where no draft is to
# run, and while no target answers.
SPECULATION_ACTIVE = "SpeculationActive"
# Set by the loop. True: a ready target's metrics were read lately. False: there are ready targets, and none answers.
# Absent while none is ready.
METRICS_AVAILABLE = "MetricsAvailable"
# Set by the loop. True: replicas follow what is measured, or with the reason Advisory would. False: they hold, and why.
# Absent without spec.autoscaling.
SCALING_ACTIVE = "ScalingActive"
# Set by every reconcile, from the others. True: the spec as it stands now is what answers. A draft that is missing does
# not make it False, for the text is the same without: then its reason is DraftNotReady.
READY = "Ready"
# Of Ready, while the objects are not those of the spec: it is not accepted or paused, the server refuses one, or the
# operator fails at it.
NOT_ACCEPTED = "NotAccepted"
PAUSED = "Paused"
REFUSED = "Refused"
FAILED = "Failed"
NOT_BROUGHT = frozenset({NOT_ACCEPTED, PAUSED, REFUSED, FAILED})
# Of TargetReady and DraftReady. A draft that nobody wants is not missed.
SCALED_TO_ZERO = "ScaledToZero"


@dataclass(frozen=True)
class Finding:
    """What one condition is to say. message: one line for people."""

    type: str
    status: State
    reason: str
    message: str

    @property
    def true(self) -> bool:
        return self.status == "True"


def conditions(findings: Iterable[Finding], generation: int, before: Sequence[Object], now: datetime) -> list[Object]:
    """The findings as conditions. One whose status stays keeps the time at which it came about."""
    since = {(each["type"], each["status"]): each["lastTransitionTime"] for each in before}
    at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        {
            "type": finding.type,
            "status": finding.status,
            "observedGeneration": generation,
            "lastTransitionTime": since.get((finding.type, finding.status), at),
            "reason": finding.reason,
            "message": finding.message,
        }
        for finding in findings
    ]


def finding_of(condition: Object) -> Finding:
    return Finding(condition["type"], condition["status"], condition["reason"], condition["message"])


def rollout(type_: str, deployment: Object | None, enough: int | None = None, before: Finding | None = None) -> Finding:
    """Whether the newest revision of a Deployment runs. None: there is no such object yet.

    enough: pods that do, where an autoscaler adds and takes others; None: all that are wanted. before: what was found
    of the same spec last. It stands until the Deployment's controller has seen the latest change: of replicas, then.
    It says only what changes when something has come of it: a Deployment changes its own status a few times before its
    first pod starts, and each change of what is said here is a write.
    """
    if deployment is None:
        return Finding(type_, "False", "NotCreated", "its Deployment is not there yet")
    wanted = deployment["spec"].get("replicas", 1)
    if wanted == 0:
        return Finding(type_, "False", SCALED_TO_ZERO, "it has no replicas; raise replicas to have some")
    status = deployment.get("status", {})
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    old = status.get("replicas", 0) - updated
    if not seen and before is not None:
        return before
    ready_ = min(wanted, updated, max(0, available - old)) if seen else 0
    message = f"{ready_} of {wanted} of the newest revision ready"
    if ready_ >= wanted and old <= 0:
        return Finding(type_, "True", "AllReady", message)
    if enough is not None and ready_ >= enough and old <= 0:
        return Finding(type_, "True", "Scaling", f"{message}; the others start")
    stuck = _stuck(status.get("conditions", ()))
    if stuck:
        return Finding(type_, "False", "Stuck", f"{message}: {stuck}")
    return Finding(type_, "False", "Rolling", message)


def _stuck(of_deployment: Iterable[Object]) -> str:
    """What keeps a Deployment from going on, in its controller's words; empty while it does."""
    for each in of_deployment:
        if each["type"] == "ReplicaFailure" and each["status"] == "True":
            return str(each.get("message", "pods cannot be created"))
        if each["type"] == "Progressing" and each["status"] == "False":
            return str(each.get("message", "it makes no progress"))
    return ""


def ready(accepted: Finding, target: Finding, draft: Finding | None) -> Finding:
    """What the others come to."""
    if not accepted.true:
        return Finding(READY, "False", NOT_ACCEPTED, "the spec is not accepted; what ran before runs on")
    if not target.true:
        return Finding(READY, "False", "TargetNotReady", f"target: {target.message}")
    if draft is not None and not draft.true and draft.reason != SCALED_TO_ZERO:
        return Finding(READY, "True", "DraftNotReady", f"answers without the draft: {draft.message}")
    return Finding(READY, "True", "Serving", "answers")
