"""From spec.autoscaling to what the autoscaler is asked for. Pure."""

from __future__ import annotations

from dataclasses import replace

from outrider_operator.api.duration import parse_duration_ms
from outrider_operator.api.quantity import parse_quantity
from outrider_operator.api.v1alpha1 import DraftScaling, ScalingBehavior, ScalingRules, SpeculativeModel, TargetScaling
from outrider_operator.autoscaling.policy import SCALE_DOWN, SCALE_UP, Behavior, Bounds, Policy, Rate, Rules
from outrider_operator.resources.placement import draft_in_use


def policy(model: SpeculativeModel) -> Policy | None:
    """What is asked of the autoscaler, every default filled in; None where the model has none."""
    asked = model.spec.autoscaling
    if asked is None:
        return None
    draft, slo = draft_in_use(model), asked.slo
    return Policy(
        target=_bounds(asked.target, model.spec.target.replicas),
        draft=None if draft is None else _bounds(asked.draft, draft.replicas),
        ttft_p95_s=None if slo is None else _seconds(slo.ttft_p95),
        itl_p95_s=None if slo is None else _seconds(slo.itl_p95),
        min_goodput_gain=asked.min_goodput_gain,
        always=model.spec.speculation.mode == "Always",
        max_depth=model.spec.speculation.max_depth,
    )


def _bounds(scaling: TargetScaling | DraftScaling | None, replicas: int) -> Bounds:
    """Without scaling the role keeps its replicas."""
    if scaling is None:
        return Bounds(replicas, replicas)
    return Bounds(scaling.min_replicas, scaling.max_replicas, _behavior(scaling.behavior))


def _behavior(said: ScalingBehavior | None) -> Behavior:
    if said is None:
        return Behavior()
    return Behavior(_rules(said.scale_up, SCALE_UP), _rules(said.scale_down, SCALE_DOWN))


def _rules(said: ScalingRules | None, default: Rules) -> Rules:
    """What is said over Kubernetes' defaults, field by field, as for a HorizontalPodAutoscaler."""
    if said is None:
        return default
    rules = replace(default, select=said.select_policy)
    if said.stabilization_window_seconds is not None:
        rules = replace(rules, stabilization_s=float(said.stabilization_window_seconds))
    if said.policies is not None:
        rates = tuple(Rate(each.type, each.value, float(each.period_seconds)) for each in said.policies)
        rules = replace(rules, rates=rates)
    if said.tolerance is not None:
        rules = replace(rules, tolerance=float(parse_quantity(said.tolerance)))
    return rules


def _seconds(duration: str | None) -> float | None:
    return None if duration is None else parse_duration_ms(duration) / 1000
