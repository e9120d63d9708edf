"""What one role is thought to need, before behaviour and bounds; and what becomes of it within them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from outrider_operator.autoscaling.behavior import bounded, rate_limited, recent_recommendations, stabilized
from outrider_operator.autoscaling.decision import Reason
from outrider_operator.autoscaling.history import Recommended, RoleHistory
from outrider_operator.autoscaling.policy import Bounds
from outrider_operator.autoscaling.words import seconds


@dataclass(frozen=True)
class Wish:
    """usage: the largest over its goal; None where there is none."""

    replicas: int
    usage: float | None
    reason: Reason


@dataclass(frozen=True)
class Removal:
    """When and how pods may be taken away, beyond `behavior`. seen_since_s: since when there are signals. at_once: how
    many in one decision. apart_s: between two such decisions.
    """

    seen_since_s: float
    at_once: int
    apart_s: float


def granted(
    wish: Wish, current: int, bounds: Bounds, past: RoleHistory, removal: Removal, now_s: float
) -> tuple[int, Reason]:
    """What of the wish is done now, and the reason: the wish's own, or that which holds it back."""
    behavior, role = bounds.behavior, wish.reason.role
    window_s = behavior.down.stabilization_s
    desired = stabilized(wish.replicas, current, past.recommended, behavior, now_s)
    reason = wish.reason
    if wish.replicas < current and now_s - removal.seen_since_s < window_s:
        left = seconds(window_s - (now_s - removal.seen_since_s))
        return current, _held(reason, "Watching", f"seen for too short a time, {left} more before pods are removed")
    if desired < current:
        last_s = max((change.at_s for change in past.scaled if change.change < 0), default=-math.inf)
        if now_s - last_s < removal.apart_s:
            return current, _held(
                reason, "Settling", f"removed one {seconds(now_s - last_s)} ago, its effect is awaited"
            )
        desired = max(desired, current - removal.at_once)
    if desired == current != wish.replicas:
        window_s = window_s if wish.replicas < current else behavior.up.stabilization_s
        return current, _held(reason, "Stabilizing", f"not all of the last {seconds(window_s)} says so")
    allowed = rate_limited(desired, current, past.scaled, behavior, now_s)
    if allowed != desired:
        reason = Reason(role, "RateLimited", f"{reason.text} Limited to {allowed} by the rates of behavior.")
    replicas = bounded(allowed, bounds)
    if replicas != allowed:
        name, bound = ("maxReplicas", bounds.most) if replicas < allowed else ("minReplicas", bounds.least)
        code = "AtMaximum" if replicas < allowed else "AtMinimum"
        reason = Reason(role, code, f"{reason.text} Limited to {bound} by {name}.")
    return replicas, reason


def remember(past: RoleHistory, wish: Wish | None, replicas: int, bounds: Bounds, now_s: float) -> RoleHistory:
    """The role's history with what was decided; without a wish no recommendation was made."""
    recommended = recent_recommendations(past.recommended, bounds.behavior, now_s)
    if wish is not None:
        recommended = (*recommended, Recommended(now_s, wish.replicas))
    # Decided anew for as long as it is not done: the rates count it from when it was.
    stands = past.decided is not None and past.decided.replicas == replicas == past.wanted
    decided = past.decided if stands else Recommended(now_s, replicas)
    return replace(past, recommended=recommended, decided=decided)


def _held(reason: Reason, code: str, why: str) -> Reason:
    return Reason(reason.role, code, f"Held, {why}. {reason.text}")
