"""What the loop goes by of a model's spec: made once for each change of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.autoscaling.policy import Policy
from outrider_operator.autoscaling.spec import policy
from outrider_operator.resources.placement import draft_in_use


@dataclass(frozen=True)
class Asked:
    """policy: None without spec.autoscaling. roles: those that it scales. drafts: a draft is to run."""

    policy: Policy | None
    roles: frozenset[str]
    advisory: bool
    paused: bool
    drafts: bool

    @property
    def gated(self) -> bool:
        """Whether it is for the operator to say if targets speculate."""
        return self.policy is not None and self.policy.draft is not None


def asked(model: SpeculativeModel) -> Asked:
    scaling = model.spec.autoscaling
    drafts = draft_in_use(model) is not None
    roles = set()
    if scaling is not None and scaling.target is not None:
        roles.add("target")
    if scaling is not None and scaling.draft is not None and drafts:
        roles.add("draft")
    return Asked(
        policy=policy(model),
        roles=frozenset(roles),
        advisory=scaling is not None and scaling.mode == "Advisory",
        paused=bool(model.spec.paused),
        drafts=drafts,
    )
