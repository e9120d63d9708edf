"""Which roles the operator's autoscaler scales, and from how many pods it begins."""

from outrider_operator.api.v1alpha1 import DraftScaling, SpeculativeModel, TargetScaling
from outrider_operator.resources.placement import draft_in_use


def scaled_roles(model: SpeculativeModel) -> frozenset[str]:
    """The roles, target and draft, whose replicas the autoscaler sets. In mode Advisory it sets none."""
    return frozenset(role for role in ("target", "draft") if _scaling(model, role) is not None)


def initial_replicas(model: SpeculativeModel, role: str) -> int:
    """Pods that a role in use begins with. Of a draft one at least: what speculation earns is to be seen."""
    scaling = _scaling(model, role)
    if scaling is not None:
        return max(1, scaling.min_replicas)
    draft = draft_in_use(model)
    return model.spec.target.replicas if role == "target" or draft is None else draft.replicas


def _scaling(model: SpeculativeModel, role: str) -> TargetScaling | DraftScaling | None:
    asked = model.spec.autoscaling
    if asked is None or asked.mode != "Active":
        return None
    if role == "target":
        return asked.target
    return None if draft_in_use(model) is None else asked.draft
