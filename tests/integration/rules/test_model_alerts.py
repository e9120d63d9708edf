"""When the alerts that the operator makes for a model fire, by promtool. A minute is a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from outrider_operator.resources.monitoring import monitoring
from prometheus.rules import Rules
from unit.operator.yaml_models import model

JOB = 'job="default/pair-target"'
DEPLOYMENT = 'namespace="default",deployment="pair-target"'


def ready(pods: str) -> dict[str, str]:
    """As kube-state-metrics has it, of one that is wanted."""
    return {
        f"kube_deployment_spec_replicas{{{DEPLOYMENT}}}": "1x60",
        f"kube_deployment_status_replicas_available{{{DEPLOYMENT}}}": pods,
    }


def drafts(first: str, second: str, allowed: str = "1x60") -> dict[str, str]:
    """Drafts that each of two targets is connected with, and whether they may speculate."""
    connected = dict(zip(("a", "b"), (first, second), strict=True))
    return {
        **{f'outrider_draft_connected{{{JOB},pod="{pod}"}}': values for pod, values in connected.items()},
        **{f'outrider_speculation_allowed{{{JOB},pod="{pod}"}}': allowed for pod in connected},
    }


def requests(rejected: int, others: int, job: str = JOB) -> dict[str, str]:
    """So many a minute."""
    return {
        f'outrider_requests_total{{{job},outcome="rejected"}}': f"0+{rejected}x60",
        f'outrider_requests_total{{{job},outcome="stop"}}': f"0+{others}x60",
    }


@pytest.fixture
def rules(under_promtool: Callable[[Mapping[str, Any]], Rules]) -> Rules:
    pair = model({"draft": {"model": {"uri": "hf://org/small"}}})
    [made] = [each for each in monitoring(pair) if each["kind"] == "PrometheusRule"]
    return under_promtool(made["spec"])


def test_prometheus_takes_the_rules(rules: Rules) -> None:
    rules.check()


def test_while_all_is_well_nothing_fires(rules: Rules) -> None:
    rules.expect({**ready("1x60"), **drafts("1x60", "1x60"), **requests(4, 100)}, "60m", {})


def test_a_target_without_a_ready_pod_is_told_after_a_rollouts_time(rules: Rules) -> None:
    down = ready("1x5 0x60")
    rules.expect(down, "20m", {})
    rules.expect(down, "25m", {"OutriderTargetDown": [{"deployment": "pair-target"}]})


def test_a_target_that_is_scaled_to_zero_is_not_down(rules: Rules) -> None:
    none_wanted = {**ready("0x60"), f"kube_deployment_spec_replicas{{{DEPLOYMENT}}}": "0x60"}
    rules.expect(none_wanted, "60m", {})


def test_a_draft_is_missed_when_no_target_has_one(rules: Rules) -> None:
    rules.expect(drafts("0x60", "1x60"), "60m", {})
    rules.expect(drafts("0x60", "0x60"), "60m", {"OutriderDraftDown": [{}]})


def test_a_draft_is_not_missed_while_speculation_is_off(rules: Rules) -> None:
    rules.expect(drafts("0x60", "0x60", allowed="0x60"), "60m", {})


def test_many_rejected_requests_are_told_of_their_own_model(rules: Rules) -> None:
    rules.expect(requests(10, 90), "30m", {"OutriderRejecting": [{}]})
    rules.expect(requests(10, 90, job='job="default/another-target"'), "30m", {})
