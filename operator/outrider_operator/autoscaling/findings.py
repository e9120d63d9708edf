"""The conditions that come of what was measured. Their messages have no figures: each change would be a write. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from outrider_operator.autoscaling.asked import Asked
from outrider_operator.autoscaling.observe import Seen
from outrider_operator.autoscaling.signals import Speaking
from outrider_operator.reconcile.conditions import (
    DRAFT_COMPATIBLE,
    METRICS_AVAILABLE,
    SCALING_ACTIVE,
    SPECULATION_ACTIVE,
    Finding,
)


def findings(asked: Asked | None, seen: Seen, words: str) -> tuple[Finding, ...]:
    """All of them, in the order of the status. asked: None where the spec is not accepted. words: of a target that has
    refused a draft.
    """
    speaking = seen.speaking
    of_drafts = [draft_compatible(speaking, words), speculation_active(speaking)]
    others = [
        metrics_available(seen.ready, seen.answering, seen.failure),
        None if asked is None else scaling_active(asked, seen.answering, seen.observation.others),
    ]
    found = [*(of_drafts if asked is None or asked.drafts else []), *others]
    return tuple(each for each in found if each is not None)


def unseen(asked: Asked | None) -> tuple[Finding, ...]:
    """Where the operator may not see pods."""
    if asked is None or asked.policy is None:
        return ()
    said = "the operator may not see pods, and replicas are held: let it get, list and watch them"
    return (Finding(SCALING_ACTIVE, "False", "NotAllowed", said),)


def unjudged() -> Finding:
    """Where the loop failed at a model, at what its pods say for example."""
    said = "the operator could not judge what the pods say, and replicas are held; its log has the error"
    return Finding(SCALING_ACTIVE, "False", "Failed", said)


def metrics_available(ready: int, answering: int, failure: str) -> Finding | None:
    """ready, answering: targets. failure: why one does not answer."""
    if ready == 0:
        return None
    if answering == 0:
        said = f": {failure}" if failure else ""
        return Finding(METRICS_AVAILABLE, "False", "NoAnswer", f"no ready target's metrics can be read{said}")
    return Finding(METRICS_AVAILABLE, "True", "Read", "the targets' metrics are read")


def draft_compatible(speaking: Speaking, words: str) -> Finding | None:
    """words: of a target that has refused a draft."""
    if speaking.refusing:
        return Finding(DRAFT_COMPATIBLE, "False", "Incompatible", words or "a target has refused a draft; see its log")
    if speaking.connected:
        return Finding(DRAFT_COMPATIBLE, "True", "Compatible", "the targets take what the draft proposes")
    return None


def speculation_active(speaking: Speaking) -> Finding | None:
    if speaking.targets == 0:
        return None
    if speaking.allowed == 0:
        said = "the targets are told not to ask: the draft does not pay now; status.scalingDecisions has the figures"
        return Finding(SPECULATION_ACTIVE, "False", "Stopped", said)
    if speaking.connected < speaking.targets:
        return Finding(SPECULATION_ACTIVE, "False", "NotConnected", "not every target speaks with a draft")
    return Finding(SPECULATION_ACTIVE, "True", "Speculating", "every target speaks with a draft")


def scaling_active(asked: Asked, answering: int, others: Mapping[str, str]) -> Finding | None:
    """others: who else scales a role, by role."""
    if asked.policy is None:
        return None
    if asked.paused:
        return Finding(SCALING_ACTIVE, "False", "Paused", "spec.paused: replicas are left as they are")
    taken = [f"the {role} by {who}" for role, who in sorted(others.items()) if role in asked.roles]
    if taken:
        said = f"scaled by others: {', '.join(taken)}; delete it, or remove the role from spec.autoscaling"
        return Finding(SCALING_ACTIVE, "False", "ScaledByOthers", said)
    if answering == 0:
        return Finding(SCALING_ACTIVE, "False", "NoMetrics", "no target answers: replicas are held")
    if asked.advisory:
        said = "status.scalingDecisions has what would be done; nothing is touched"
        return Finding(SCALING_ACTIVE, "True", "Advisory", said)
    return Finding(SCALING_ACTIVE, "True", "Measuring", "replicas follow what is measured")
