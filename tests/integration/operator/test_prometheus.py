"""A real Prometheus reads the pods by what the operator makes for it, and the operator scales by what that answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cluster.kubectl import Kubectl
from cluster.kubelet import Kubelet
from cluster.operator_process import SYSTEM, Operator
from integration.operator.cluster_state import NAME, sample
from integration.operator.conftest import StartOperator
from integration.operator.scaling_state import SURGE, autoscaling, set_load, until_scaled
from prometheus.binaries import Binaries
from prometheus.discovery import Discovery
from prometheus.scrape import scrape_config
from prometheus.server import Prometheus
from support.ports import free_port
from support.promql import CHART, chosen, queries, rule_groups

TARGETS = 3


def of_the_operator(operator: Operator) -> dict[str, Any]:
    """What a ServiceMonitor in its namespace comes to: the operator of these tests is in no pod."""
    static = {"targets": [f"127.0.0.1:{operator.port}"], "labels": {"namespace": SYSTEM}}
    return {"job_name": "outrider-operator", "static_configs": [static]}


@pytest.mark.usefixtures("openshift")
def test_prometheus_finds_the_pods_and_the_operator_scales_by_its_answers(
    kubectl: Kubectl,
    start_operator: StartOperator,
    kubelet: Kubelet,
    namespace: str,
    binaries: Binaries,
    tmp_path: Path,
) -> None:
    port = free_port()
    set_load(kubelet, SURGE)
    operator = start_operator(f"--prometheus=http://127.0.0.1:{port}", in_a_hurry=True)
    kubectl.apply(namespace, sample(autoscaling=autoscaling(target=(1, TARGETS))))
    get = ("podmonitors,prometheusrules", "-n", namespace)
    kubectl.until(lambda: len(kubectl.read(*get)["items"]) == 3, "what Prometheus is told")
    there = kubectl.read(*get)["items"]
    [of_the_model] = [each["spec"] for each in there if each["kind"] == "PrometheusRule"]
    rules = {"operator": rule_groups(), "model": of_the_model}
    with Discovery(kubectl) as discovery:
        monitors = [scrape_config(each, discovery) for each in there if each["kind"] == "PodMonitor"]
        scrapes = [of_the_operator(operator), *monitors]
        with Prometheus(binaries.prometheus, tmp_path / "prometheus", scrapes, rules, port) as prometheus:
            until_scaled(kubectl, namespace, "target", TARGETS)
            tells_each_pod_and_the_model_apart(kubectl, prometheus, namespace)
            shows_what_the_operator_wants_of_the_model(kubectl, prometheus, namespace)
            warns_when_the_operator_is_gone(kubectl, prometheus, operator)


def tells_each_pod_and_the_model_apart(kubectl: Kubectl, prometheus: Prometheus, namespace: str) -> None:
    running = next(query for query in queries(CHART / "dashboards" / "models.json") if query.name == "running")
    asked = chosen(running.expression, "1m", namespace=namespace, model=NAME)

    def found() -> bool:
        pods = {each.labels["pod"] for each in prometheus.ask(f'up{{job="{namespace}/{NAME}-target"}} == 1')}
        sums = [each.value for each in prometheus.ask(asked)]
        drafts = {each.labels["job"] for each in prometheus.ask("outrider_draft_level_seconds")}
        return len(pods) == TARGETS and sums == [TARGETS * SURGE.running] and drafts == {f"{namespace}/{NAME}-draft"}

    kubectl.until(found, "every pod, by the job that rules and dashboards ask for")


def shows_what_the_operator_wants_of_the_model(kubectl: Kubectl, prometheus: Prometheus, namespace: str) -> None:
    """By the label that the chart's rules name it by."""
    model = f'namespace="{SYSTEM}",exported_namespace="{namespace}",model="{NAME}",role="target"'

    def found() -> bool:
        return {each.value for each in prometheus.ask(f"outrider_desired_replicas{{{model}}}")} == {TARGETS}

    kubectl.until(found, "the operator's own metrics")


def warns_when_the_operator_is_gone(kubectl: Kubectl, prometheus: Prometheus, operator: Operator) -> None:
    kubectl.until(lambda: "OutriderOperatorDown" not in prometheus.alerts(), "all is well")
    operator.end()
    kubectl.until(lambda: "OutriderOperatorDown" in prometheus.alerts(), "the alert begins to wait")
