"""What Prometheus is told of a model: where its figures are, and what to warn of, by figures that are there."""

import re
from pathlib import Path
from typing import Any

import pytest
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.build import build
from outrider_operator.resources.platform import Platform
from unit.operator.yaml_models import ROOT, model

DRAFT = {"model": {"uri": "hf://org/small"}}
MONITORING = "monitoring.coreos.com/v1"
CLUSTER = Platform(optional_apis=frozenset({(MONITORING, "PodMonitor"), (MONITORING, "PrometheusRule")}))


def of_kind(model: SpeculativeModel, kind: str, platform: Platform = CLUSTER) -> dict[str, dict[str, Any]]:
    return {thing["metadata"]["name"]: thing for thing in build(model, platform) if thing["kind"] == kind}


def alerts(model: SpeculativeModel) -> dict[str, dict[str, Any]]:
    [rules] = of_kind(model, "PrometheusRule").values()
    [group] = rules["spec"]["groups"]
    return {alert["alert"]: alert for alert in group["rules"]}


def test_a_cluster_without_prometheus_has_none_of_it() -> None:
    pair = model({"draft": DRAFT})
    assert of_kind(pair, "PodMonitor", Platform()) == {}
    assert of_kind(pair, "PrometheusRule", Platform()) == {}


@pytest.mark.parametrize(("there", "missing"), [("PodMonitor", "PrometheusRule"), ("PrometheusRule", "PodMonitor")])
def test_of_the_prometheus_operators_crds_those_are_used_that_are_there(there: str, missing: str) -> None:
    some = Platform(optional_apis=frozenset({(MONITORING, there)}))
    assert of_kind(model({"draft": DRAFT}), there, some)
    assert not of_kind(model({"draft": DRAFT}), missing, some)


def test_the_figures_of_each_role_are_read_where_its_pods_have_them() -> None:
    pair = model({"draft": DRAFT})
    deployments = of_kind(pair, "Deployment")
    monitors = of_kind(pair, "PodMonitor")
    assert monitors.keys() == deployments.keys() == {"pair-target", "pair-draft"}
    for name, monitor in monitors.items():
        assert monitor["spec"]["selector"] == deployments[name]["spec"]["selector"]
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["path"] == "/metrics"
        [container] = deployments[name]["spec"]["template"]["spec"]["containers"]
        assert endpoint["port"] in [port["name"] for port in container["ports"]]


def test_a_target_with_a_certificate_is_read_by_https() -> None:
    secure = model({"draft": DRAFT, "endpoint": {"tls": {"secretRef": {"name": "chat"}}}})
    schemes = {
        name: monitor["spec"]["podMetricsEndpoints"][0].get("scheme")
        for name, monitor in of_kind(secure, "PodMonitor").items()
    }
    assert schemes == {"pair-target": "https", "pair-draft": None}


def test_it_warns_of_a_target_that_is_gone_of_requests_refused_and_of_a_draft_that_is_gone() -> None:
    found = alerts(model({"draft": DRAFT}))
    assert list(found) == ["OutriderTargetDown", "OutriderRejecting", "OutriderDraftDown"]
    assert found["OutriderDraftDown"]["expr"] == (
        'max(outrider_draft_connected{job="default/pair-target"}) == 0'
        ' and max(outrider_speculation_allowed{job="default/pair-target"}) == 1'
    )
    assert found["OutriderTargetDown"]["labels"]["severity"] == "critical"
    for alert in found.values():
        assert alert["annotations"]["summary"].startswith("default/pair: ")
        assert alert["annotations"]["runbook"].startswith("`outrider status pair --namespace default`: ")


def test_no_draft_no_warning_of_one() -> None:
    for alone in ({}, {"draft": {**DRAFT, "replicas": 0}}, {"draft": DRAFT, "speculation": {"mode": "Off"}}):
        assert "OutriderDraftDown" not in alerts(model(alone))


def test_every_figure_that_is_asked_for_is_one_that_the_roles_give() -> None:
    source = Path(ROOT / "serving/outrider_serving/metrics.py").read_text()
    asked = {
        name
        for alert in alerts(model({"draft": DRAFT})).values()
        for name in re.findall(r"outrider_\w+", alert["expr"])
    }
    assert asked
    for name in asked:
        assert f'"{name.removeprefix("outrider_").removesuffix("_total")}"' in source
