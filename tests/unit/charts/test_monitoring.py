"""What a Prometheus is told, as far as the cluster has one."""

from __future__ import annotations

import pytest
from support.chart import MONITORING, of_kind, rendered, the

KINDS = {"serviceMonitor": "ServiceMonitor", "prometheusRules": "PrometheusRule"}


@pytest.mark.parametrize(("value", "kind"), KINDS.items())
def test_it_is_there_where_the_cluster_has_the_api_unless_somebody_knows_better(value: str, kind: str) -> None:
    assert len(of_kind(rendered(serves=[MONITORING]), kind)) == 1
    assert of_kind(rendered(), kind) == []
    assert len(of_kind(rendered({value: {"enabled": True}}), kind)) == 1
    assert of_kind(rendered({value: {"enabled": False}}, serves=[MONITORING]), kind) == []


@pytest.mark.parametrize(("value", "kind"), KINDS.items())
def test_it_has_the_labels_by_which_a_prometheus_chooses(value: str, kind: str) -> None:
    made = the(rendered({value: {"enabled": True, "labels": {"release": "stack"}}}), kind)
    assert made["metadata"]["labels"]["release"] == "stack"


def test_the_monitor_finds_the_service_and_its_port() -> None:
    items = rendered(serves=[MONITORING])
    monitor, service = the(items, "ServiceMonitor")["spec"], the(items, "Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["jobLabel"] in service["metadata"]["labels"]
    assert monitor["endpoints"] == [{"port": service["spec"]["ports"][0]["name"], "path": "/metrics"}]


def test_it_is_read_as_often_as_is_asked_for() -> None:
    items = rendered({"serviceMonitor": {"enabled": True, "interval": "15s"}})
    [endpoint] = the(items, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["interval"] == "15s"


def test_dashboards_come_where_they_are_asked_for() -> None:
    assert of_kind(rendered(serves=[MONITORING]), "ConfigMap") == []
    asked = {"enabled": True, "labels": {"grafana_dashboard": "2"}, "annotations": {"grafana_folder": "Outrider"}}
    made = of_kind(rendered({"dashboard": asked}), "ConfigMap")
    assert made
    for each in made:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "2"
        assert each["metadata"]["annotations"] == {"grafana_folder": "Outrider"}
        assert all(name.endswith(".json") for name in each["data"])
