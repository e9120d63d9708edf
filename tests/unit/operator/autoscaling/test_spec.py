"""What the autoscaler is asked for: every field of spec.autoscaling, and Kubernetes' own defaults of what is absent."""

from typing import Any

from outrider_operator.autoscaling.policy import SCALE_DOWN, SCALE_UP, Behavior, Bounds, Policy, Rate, Rules
from outrider_operator.autoscaling.spec import policy
from unit.operator.yaml_models import model

DRAFT = {"model": {"uri": "hf://org/small"}}
TARGET = {"model": {"uri": "hf://org/big"}}


def asked(autoscaling: dict[str, Any], **spec: Any) -> Policy:
    found = policy(model({"autoscaling": autoscaling, **spec}))
    assert found is not None
    return found


def test_without_autoscaling_nothing_is_asked() -> None:
    assert policy(model({"draft": DRAFT})) is None


def test_a_role_that_is_not_named_keeps_its_replicas() -> None:
    found = asked({}, target={**TARGET, "replicas": 3}, draft={**DRAFT, "replicas": 2})
    assert found == Policy(Bounds(3, 3), Bounds(2, 2))


def test_least_is_one_target_and_no_draft_unless_it_is_said() -> None:
    found = asked({"target": {"maxReplicas": 4}, "draft": {"maxReplicas": 2}}, draft=DRAFT)
    assert (found.target, found.draft) == (Bounds(1, 4), Bounds(0, 2))
    found = asked({"target": {"minReplicas": 2, "maxReplicas": 4}})
    assert (found.target, found.draft) == (Bounds(2, 4), None)


def test_in_mode_off_there_is_no_draft_to_scale() -> None:
    found = asked({"draft": {"maxReplicas": 2}}, draft=DRAFT, speculation={"mode": "Off"})
    assert found.draft is None


def test_goals_are_in_seconds() -> None:
    found = asked({"slo": {"ttftP95": "1.5s", "itlP95": "50ms"}, "minGoodputGain": 1.2})
    assert (found.ttft_p95_s, found.itl_p95_s, found.min_goodput_gain) == (1.5, 0.05, 1.2)
    assert asked({"slo": {"itlP95": "50ms"}}).ttft_p95_s is None


def test_mode_always_goes_on_speculating_whatever_it_earns() -> None:
    assert asked({}, speculation={"mode": "Always"}).always
    assert not asked({}).always


def test_trees_are_as_deep_as_the_spec_lets_them() -> None:
    assert asked({}, speculation={"maxDepth": 3}).max_depth == 3


def behavior(**said: Any) -> Behavior:
    return asked({"target": {"maxReplicas": 4, "behavior": said}}).target.behavior


def test_what_is_absent_of_a_behavior_is_as_kubernetes_has_it() -> None:
    assert behavior() == Behavior(SCALE_UP, SCALE_DOWN)
    assert behavior(scaleUp={}, scaleDown={}) == Behavior(SCALE_UP, SCALE_DOWN)
    slow = behavior(scaleDown={"stabilizationWindowSeconds": 0})
    assert slow == Behavior(SCALE_UP, Rules(0.0, SCALE_DOWN.rates))


def test_every_field_of_a_behavior_is_taken() -> None:
    pods = {"type": "Pods", "value": 1, "periodSeconds": 60}
    percent = {"type": "Percent", "value": 10, "periodSeconds": 1800}
    said = behavior(
        scaleUp={
            "stabilizationWindowSeconds": 30,
            "selectPolicy": "Min",
            "policies": [pods, percent],
            "tolerance": "50m",
        },
        scaleDown={"selectPolicy": "Disabled"},
    )
    assert said.up == Rules(30.0, (Rate("Pods", 1, 60.0), Rate("Percent", 10, 1800.0)), "Min", 0.05)
    assert said.down == Rules(SCALE_DOWN.stabilization_s, SCALE_DOWN.rates, "Disabled")
