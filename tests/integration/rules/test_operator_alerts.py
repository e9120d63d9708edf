"""When the chart's alerts fire, and when not, by promtool. A minute is a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from prometheus.rules import Rules
from support.promql import rule_groups

HERE = 'namespace="outrider-system"'
OURS = f'{HERE},pod="outrider-operator-a"'


def leader(values: str) -> dict[str, str]:
    """One replica leads so, the other waits."""
    return {
        f"outrider_operator_leader{{{OURS}}}": values,
        f'outrider_operator_leader{{{HERE},pod="outrider-operator-b"}}': "0x90",
    }


WORKS = leader("1x90")


def histogram(name: str, slow: int) -> dict[str, str]:
    """Of a hundred a minute, so many take between 10 s and 30 s, the others less than one."""
    quick = 100 - slow
    counts = {"1": quick, "5": quick, "10": quick, "30": 100, "+Inf": 100}
    return {f'{name}_bucket{{{OURS},le="{bound}"}}': f"0+{count}x90" for bound, count in counts.items()}


def desired(reason: str, values: str, model: str = "qwen-coder", role: str = "target") -> dict[str, str]:
    """As Prometheus has it: the label namespace is the operator's, that of the model another."""
    labels = f'{OURS},exported_namespace="chat",model="{model}",role="{role}",reason="{reason}"'
    return {f"outrider_desired_replicas{{{labels}}}": values}


@pytest.fixture
def rules(under_promtool: Callable[[Mapping[str, Any]], Rules]) -> Rules:
    return under_promtool(rule_groups())


def test_prometheus_takes_the_rules(rules: Rules) -> None:
    rules.check()


def test_while_all_is_well_nothing_fires(rules: Rules) -> None:
    well = {
        f'outrider_operator_reconciles_total{{{OURS},result="ok"}}': "0+10x90",
        f'outrider_operator_reconciles_total{{{OURS},result="failed"}}': "0+0.4x90",
        f'outrider_operator_api_calls_total{{{OURS},verb="apply",status="200"}}': "0+100x90",
        f'outrider_operator_api_calls_total{{{OURS},verb="apply",status="409"}}': "0+50x90",
        f'outrider_operator_api_calls_total{{{OURS},verb="get",status="503"}}': "0+5x90",
        f'outrider_operator_scrapes_total{{{OURS},result="ok"}}': "0+90x90",
        f'outrider_operator_scrapes_total{{{OURS},result="failed"}}': "0+10x90",
        f"outrider_operator_scaling_failures_total{{{OURS}}}": "0+0.2x90",
        **histogram("outrider_operator_reconcile_duration_seconds", slow=4),
        **histogram("outrider_operator_scaling_duration_seconds", slow=4),
        **desired("WithinGoals", "3x90"),
        **desired("PodsStarting", "4x90", model="another"),
    }
    rules.expect({**WORKS, **well}, "90m", {})


def test_no_leader_is_told_after_ten_minutes_and_a_new_one_in_time_is_not(rules: Rules) -> None:
    rules.expect(leader("1x5 0x60"), "15m", {})
    rules.expect(leader("1x5 0x60"), "20m", {"OutriderOperatorDown": [{}]})
    rules.expect(leader("1x5 0x5 1x60"), "20m", {})


def test_an_operator_that_is_gone_altogether_is_told_too(rules: Rules) -> None:
    others = {'up{job="another"}': "1x30"}
    rules.expect(others, "20m", {"OutriderOperatorDown": [{}]})


def test_an_operator_of_another_release_does_not_stand_in(rules: Rules) -> None:
    other = {'outrider_operator_leader{namespace="another",pod="a"}': "1x90"}
    rules.expect(other, "20m", {"OutriderOperatorDown": [{}]})


def test_a_model_that_is_refused_again_and_again_is_told(rules: Rules) -> None:
    failed = {f'outrider_operator_reconciles_total{{{OURS},result="failed"}}': "0+1x90"}
    rules.expect({**WORKS, **failed}, "30m", {"OutriderReconcilesFailing": [{}]})


def test_slow_reconciles_are_told(rules: Rules) -> None:
    slow = histogram("outrider_operator_reconcile_duration_seconds", slow=10)
    rules.expect({**WORKS, **slow}, "30m", {"OutriderReconcilesSlow": [{}]})


@pytest.mark.parametrize("status", ["0", "429", "503"])
def test_an_api_server_that_fails_is_told(rules: Rules, status: str) -> None:
    calls = {
        f'outrider_operator_api_calls_total{{{OURS},verb="get",status="200"}}': "0+80x90",
        f'outrider_operator_api_calls_total{{{OURS},verb="get",status="{status}"}}': "0+20x90",
    }
    rules.expect({**WORKS, **calls}, "30m", {"OutriderApiServerFailing": [{}]})


def test_scaling_that_the_server_does_not_take_is_told(rules: Rules) -> None:
    refused = {f"outrider_operator_scaling_failures_total{{{OURS}}}": "0+4x90"}
    rules.expect({**WORKS, **refused}, "30m", {"OutriderScalingRefused": [{}]})


def test_pods_that_cannot_be_read_are_told(rules: Rules) -> None:
    scrapes = {
        f'outrider_operator_scrapes_total{{{OURS},result="ok"}}': "0+70x90",
        f'outrider_operator_scrapes_total{{{OURS},result="failed"}}': "0+30x90",
    }
    rules.expect({**WORKS, **scrapes}, "30m", {"OutriderPodsNotRead": [{}]})


def test_an_autoscaler_that_cannot_keep_up_is_told(rules: Rules) -> None:
    slow = histogram("outrider_operator_scaling_duration_seconds", slow=10)
    rules.expect({**WORKS, **slow}, "30m", {"OutriderScalingSlow": [{}]})


def test_a_model_that_is_held_without_figures_is_told_once_for_both_roles_and_not_while_it_loads(rules: Rules) -> None:
    held = {**WORKS, **desired("NoMetrics", "2x90"), **desired("NoMetrics", "1x90", role="draft")}
    rules.expect(held, "40m", {})
    model = {"exported_namespace": "chat", "model": "qwen-coder"}
    rules.expect(held, "50m", {"OutriderScalingHeld": [model]})


def test_a_role_at_its_maximum_is_told_when_it_stays_there(rules: Rules) -> None:
    role = {"exported_namespace": "chat", "model": "qwen-coder", "role": "target"}
    peak = {**WORKS, **desired("AtMaximum", "6x20 stale _x4 6x60")}
    rules.expect(peak, "45m", {})
    rules.expect({**WORKS, **desired("AtMaximum", "6x90")}, "40m", {"OutriderAtMaximum": [role]})


def test_pods_that_cannot_start_are_told_by_model_and_role(rules: Rules) -> None:
    stuck = {**desired("PodsStuck", "3x90"), **desired("PodsStuck", "1x90", model="another", role="draft")}
    expected = [
        {"exported_namespace": "chat", "model": "qwen-coder", "role": "target"},
        {"exported_namespace": "chat", "model": "another", "role": "draft"},
    ]
    rules.expect({**WORKS, **stuck}, "20m", {"OutriderPodsStuck": expected})
