"""A model on OpenShift, whose APIs CRDs stand in for: what it has there beside the rest, kept field by field."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from cluster.kubectl import Kubectl
from cluster.operator_process import Operator
from integration.operator.cluster_state import NAME, OURS, condition, events, patch, sample, until_complete
from integration.operator.conftest import StartOperator
from outrider_operator.reconcile.reconcile import read
from outrider_operator.resources.build import build
from outrider_operator.resources.platform import OPTIONAL_APIS, Platform
from support.promql import rule_groups

pytestmark = pytest.mark.usefixtures("openshift")

KINDS = "routes,podmonitors,prometheusrules"
GROUPS = ("route.openshift.io", "monitoring.coreos.com")
HOST = "chat.apps.example.com"
CERTIFICATE = {"secretRef": {"name": "chat"}}
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
REENCRYPT = {"termination": "Reencrypt", "tls": CERTIFICATE, "destinationCA": AUTHORITY}
TRUSTS = {"externalCertificate": {"name": "chat"}, "destinationCACertificate": AUTHORITY}
OF_A_PAIR = {
    f"Route/{NAME}-target",
    f"PodMonitor/{NAME}-target",
    f"PodMonitor/{NAME}-draft",
    f"PrometheusRule/{NAME}-target",
}


def with_route(endpoint: Mapping[str, Any] | None = None, **route: Any) -> dict[str, Any]:
    """endpoint: what it has beside the route."""
    return sample(endpoint={"route": {"kind": "Route", "host": HOST, **route}, **(endpoint or {})})


def made(kubectl: Kubectl, namespace: str) -> dict[str, Any]:
    found = kubectl.read(KINDS, "-n", namespace, "-l", OURS)["items"]
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in found}


def wanted(model: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The same, as the operator builds it."""
    typed, problems = read({**model, "metadata": {**model["metadata"], "namespace": namespace}})
    assert typed is not None, problems
    built = build(typed, Platform(optional_apis=OPTIONAL_APIS))
    return {
        f"{item['kind']}/{item['metadata']['name']}": item for item in built if item["apiVersion"].startswith(GROUPS)
    }


def until_made(kubectl: Kubectl, namespace: str) -> None:
    kubectl.until(lambda: set(made(kubectl, namespace)) == OF_A_PAIR, "the Route, and what Prometheus is told")


@pytest.fixture
def operator(start_operator: StartOperator) -> Operator:
    """Starts when the APIs are there: it looks for new ones every 30 s."""
    return start_operator()


def test_a_model_has_a_route_and_is_watched_and_the_server_keeps_every_field(
    kubectl: Kubectl, operator: Operator, namespace: str
) -> None:
    model = with_route()
    kubectl.apply(namespace, model)
    until_made(kubectl, namespace)
    there = made(kubectl, namespace)
    for name, item in wanted(model, namespace).items():
        assert there[name]["spec"] == item["spec"], name
        assert item["metadata"].get("annotations", {}).items() <= there[name]["metadata"]["annotations"].items()
    assert there[f"Route/{NAME}-target"]["spec"]["tls"]["termination"] == "edge"
    assert operator.leads


def test_at_rest_nothing_is_written(kubectl: Kubectl, operator: Operator, namespace: str) -> None:
    """The server fills in defaults: they must not look like a change."""
    kubectl.apply(namespace, with_route())
    until_made(kubectl, namespace)
    until_complete(kubectl, namespace)
    kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["status"] == "True", "Accepted")
    before = operator.until_at_rest()
    time.sleep(3)
    assert operator.writes == before


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize(
    ("model", "tls"),
    [
        (with_route({"tls": CERTIFICATE}), {"termination": "passthrough"}),
        (with_route({"tls": CERTIFICATE}, **REENCRYPT), {"termination": "reencrypt", **TRUSTS}),
        (with_route(tls=CERTIFICATE), {"termination": "edge", "externalCertificate": {"name": "chat"}}),
    ],
    ids=["passthrough", "re-encrypt", "edge with a certificate of its own"],
)
def test_tls_ends_where_the_model_says(
    kubectl: Kubectl, namespace: str, model: dict[str, Any], tls: dict[str, Any]
) -> None:
    kubectl.apply(namespace, model)
    until_made(kubectl, namespace)
    spec = made(kubectl, namespace)[f"Route/{NAME}-target"]["spec"]
    assert spec["tls"] == {"insecureEdgeTerminationPolicy": "Redirect", **tls}


@pytest.mark.usefixtures("operator")
def test_a_route_that_somebody_edits_is_put_back_and_told(kubectl: Kubectl, namespace: str) -> None:
    kubectl.apply(namespace, with_route())
    until_made(kubectl, namespace)
    edit = json.dumps({"spec": {"host": "elsewhere.example.com"}})
    kubectl("patch", "route", f"{NAME}-target", "-n", namespace, "--type=merge", "-p", edit)
    get = ("get", "route", f"{NAME}-target", "-n", namespace, "-o", "jsonpath={.spec.host}")
    kubectl.until(lambda: kubectl(*get) == HOST, "the host is put back")
    kubectl.until(lambda: "Repaired" in events(kubectl, namespace), "people are told")


@pytest.mark.usefixtures("operator")
def test_what_the_model_no_longer_asks_for_goes(kubectl: Kubectl, namespace: str) -> None:
    kubectl.apply(namespace, with_route())
    until_made(kubectl, namespace)
    patch(kubectl, namespace, {"endpoint": {"route": None}, "speculation": {"mode": "Off"}})
    left = {f"PodMonitor/{NAME}-target", f"PrometheusRule/{NAME}-target"}
    kubectl.until(lambda: set(made(kubectl, namespace)) == left, "no Route and nothing of the draft")


def test_the_charts_rules_are_kept_field_by_field(kubectl: Kubectl, namespace: str) -> None:
    about = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": "outrider"}}
    kubectl.apply(namespace, {**about, "spec": rule_groups()})
    assert kubectl.read("prometheusrule/outrider", "-n", namespace)["spec"] == rule_groups()


def test_what_the_real_apis_refuse_is_refused(kubectl: Kubectl, namespace: str) -> None:
    route = {"apiVersion": "route.openshift.io/v1", "kind": "Route", "metadata": {"name": "wrong"}}
    spec = {"to": {"kind": "Service", "name": "chat"}, "tls": {"termination": "Edge"}}
    text = yaml.safe_dump({**route, "spec": spec})
    refused = kubectl("apply", "--validate=false", "-n", namespace, "-f", "-", stdin=text, ok=False)
    assert "spec.tls.termination" in refused
