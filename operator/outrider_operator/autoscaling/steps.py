"""From a decision to what is done about it just now. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from outrider_operator.autoscaling.asked import Asked
from outrider_operator.autoscaling.decision import Decision
from outrider_operator.autoscaling.observation import Observation

Role = Literal["target", "draft"]


@dataclass(frozen=True)
class Steps:
    """replicas: by role, where they are to change. speculate: what the targets are to be told; None: nothing new."""

    replicas: Mapping[Role, int] = field(default_factory=dict)
    speculate: bool | None = None


def steps(decision: Decision, seen: Observation, asked: Asked, silent: bool) -> Steps:
    """silent: the targets were told to stop, and have.

    The last draft goes when no target asks it any more, so that none waits for what does not come; and targets are told
    to ask again when there is one that answers.
    """
    replicas = wanted(decision, asked, seen.others)
    changed = {role: count for role, count in replicas.items() if count != replicas_of(seen, role)}
    if changed.get("draft") == 0 and not silent:
        del changed["draft"]
    return Steps(changed, _told(decision, seen, asked))


def wanted(decision: Decision, asked: Asked, others: Mapping[str, str]) -> dict[Role, int]:
    """Replicas of those roles that are for the operator to scale."""
    decided: dict[Role, int] = {"target": decision.target_replicas, "draft": decision.draft_replicas}
    return {role: count for role, count in decided.items() if role in asked.roles and role not in others}


def replicas_of(seen: Observation, role: Role) -> int:
    """Replicas that the role has been given."""
    return seen.target.wanted if role == "target" else seen.draft.wanted


def _told(decision: Decision, seen: Observation, asked: Asked) -> bool | None:
    if not asked.gated:
        return None if seen.speculating else True  # it was turned off while it was for the operator to say
    speculate = decision.speculate
    # A draft that is decided away is one that is not asked.
    if "draft" in asked.roles and "draft" not in seen.others and decision.draft_replicas == 0:
        speculate = False
    if speculate == seen.speculating or (speculate and seen.draft.ready == 0):
        return None
    return speculate
