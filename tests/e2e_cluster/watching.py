"""A real Prometheus beside the cluster with pods: it reads what the chart and the operator tell one to read.

There is no Prometheus operator; its APIs are stood in by their CRDs, and what it would make of them is made here.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from cluster.kubectl import Kubectl
from e2e_cluster.looking import OURS
from e2e_cluster.site import Site
from e2e_cluster.transcript import Shell, Transcript
from prometheus.binaries import find_binaries
from prometheus.discovery import Discovery
from prometheus.scrape import scrape_config
from prometheus.server import Prometheus
from support.promql import DASHBOARDS, chosen, queries
from support.schemas import STAND_INS
from support.waiting import eventually

MONITORING = ("podmonitors", "servicemonitors", "prometheusrules")
OPERATORS = "app.kubernetes.io/name=outrider-operator,app.kubernetes.io/component=operator"
LEADERS = "sum(outrider_operator_leader)"


def serve_monitoring(site: Site, shell: Shell) -> None:
    """Before the chart is installed, which looks for these APIs. A cluster that is given has its own, or none."""
    if site.own:
        for plural in MONITORING:
            shell.kubectl("apply", "-f", str(STAND_INS / f"{plural}.yaml"))
            shell.kubectl("wait", "--for=condition=Established", f"crd/{plural}.monitoring.coreos.com", "--timeout=60s")


def assert_watched(kubectl: Kubectl, transcript: Transcript, folder: Path) -> None:
    """Every pod of the operator and of the models is read, by the labels that rules and dashboards ask for. Only in a
    cluster of our own: from here the pods of another cannot be reached.
    """
    monitors = kubectl.read("podmonitors,servicemonitors", "-A")["items"]
    rules = {
        f"{each['metadata']['namespace']}-{each['metadata']['name']}": each["spec"]
        for each in kubectl.read("prometheusrules", "-A")["items"]
    }
    expected = _pods(kubectl, OURS) | _pods(kubectl, OPERATORS)
    with contextlib.ExitStack() as stack:
        discovery = stack.enter_context(Discovery(kubectl))
        scrapes = [scrape_config(each, discovery) for each in monitors]
        prometheus = stack.enter_context(Prometheus(find_binaries().prometheus, folder, scrapes, rules))

        def read() -> bool:
            found = prometheus.ask("up == 1")
            return {(each.labels["namespace"], each.labels["pod"]) for each in found} == expected

        eventually("every pod is read", read)
        eventually("one operator leads", lambda: [each.value for each in prometheus.ask(LEADERS)] == [1.0])
        eventually("no alert waits", lambda: not prometheus.alerts())
        figures = [
            each
            for file in DASHBOARDS
            for query in queries(file)
            for each in prometheus.ask(chosen(query.expression, "10s", namespace=".+", model=".+"))
        ]
    assert figures
    transcript.say(f"Prometheus reads {len(expected)} pods; {len(figures)} series for the dashboards; no alert waits")


def _pods(kubectl: Kubectl, selector: str) -> set[tuple[str, str]]:
    """Namespace and name."""
    found = kubectl.read("pods", "-A", "-l", selector)["items"]
    return {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in found}
