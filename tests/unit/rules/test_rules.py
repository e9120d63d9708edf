"""The chart's rules and the operator's: what they ask for is there, and each says what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from outrider_operator.metrics import OperatorMetrics, ScalingMetrics
from outrider_operator.resources.monitoring import monitoring
from outrider_serving.metrics import DraftMetrics, TargetMetrics
from prometheus_client import CollectorRegistry
from support.promql import DASHBOARDS, NAMESPACE, ROOT, RULES, alerts, metrics_in, queries, rule_groups
from unit.operator.yaml_models import sample

RUNBOOK = ROOT / "charts" / "runbook.md"
AUTOSCALING = ROOT / "operator" / "outrider_operator" / "autoscaling"
SUFFIXES = re.compile(r"_(bucket|sum|count)$")


def exported() -> set[str]:
    """The names of all series that the operator and the two roles have, but for a histogram's endings."""
    registry = CollectorRegistry()
    OperatorMetrics(registry, lambda: 0)
    ScalingMetrics(registry)
    TargetMetrics(registry, "m")
    DraftMetrics(registry, "m")
    families = registry.collect()
    return {f"{each.name}_total" if each.type == "counter" else each.name for each in families}


def of_a_model() -> dict[str, dict[str, Any]]:
    [rules] = [each for each in monitoring(sample("qwen-coder")) if each["kind"] == "PrometheusRule"]
    return alerts(rules["spec"])


def all_alerts() -> dict[str, dict[str, Any]]:
    return {**alerts(rule_groups()), **of_a_model()}


@pytest.mark.parametrize("file", [RULES, *DASHBOARDS], ids=lambda file: file.name)
def test_every_metric_that_is_asked_for_is_one_that_there_is(file: Path) -> None:
    if file == RULES:
        expressions = [rule["expr"] for rule in alerts(rule_groups()).values()]
    else:
        expressions = [query.expression for query in queries(file)]
    asked = {SUFFIXES.sub("", name) for expression in expressions for name in metrics_in(expression)}
    assert asked
    assert asked <= exported()


def test_the_chart_and_the_operator_warn_of_different_things() -> None:
    assert not alerts(rule_groups()).keys() & of_a_model().keys()


@pytest.mark.parametrize(("name", "rule"), all_alerts().items(), ids=all_alerts().keys())
def test_each_alert_says_what_is_wrong_and_in_a_line_what_to_do(name: str, rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Outrider[A-Z]\w+", name)
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["labels"]["namespace"]
    for text in (rule["annotations"]["summary"], rule["annotations"]["runbook"]):
        assert text
        assert "\n" not in text
    assert f"## {name}\n" in RUNBOOK.read_text(encoding="utf-8")


def test_the_runbook_has_no_alert_that_there_is_not() -> None:
    told = re.findall(r"^## (Outrider\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(told) == sorted(all_alerts())


def test_the_charts_rules_are_about_one_release() -> None:
    for rule in alerts(rule_groups()).values():
        selectors = re.findall(r"\boutrider_\w+(\{[^}]*\})?", rule["expr"])
        assert selectors
        assert all(f'namespace="{NAMESPACE}"' in selector for selector in selectors)
        assert rule["labels"]["namespace"] == NAMESPACE


def test_the_reasons_that_are_asked_for_are_ones_that_the_autoscaler_gives() -> None:
    source = "".join(file.read_text(encoding="utf-8") for file in AUTOSCALING.glob("*.py"))
    asked = {
        reason for rule in alerts(rule_groups()).values() for reason in re.findall(r'reason="(\w+)"', rule["expr"])
    }
    assert asked == {"NoMetrics", "AtMaximum", "PodsStuck"}
    assert all(f'"{reason}"' in source for reason in asked)
