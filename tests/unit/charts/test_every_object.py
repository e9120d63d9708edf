"""Every object of the chart, in every shape: servers old and new take it, and its pods are restricted."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from support.chart import MONITORING, Object, objects, of_kind, rendered, template, the
from support.manifests import SERVED, values_of
from support.pod_security import pod_of, violations
from support.promql import DASHBOARDS, NAMESPACE, dashboard, rule_groups
from support.schemas import VERSIONS, distinct, validate


def all_of(name: str, kubernetes: str = VERSIONS[-1]) -> list[Object]:
    """All that the chart makes of the values of charts/outrider/ci, the CRD too."""
    whole = kubernetes if kubernetes.count(".") == 2 else f"{kubernetes}.0"
    values = {**values_of(name), "crds": {"install": True}, "dashboard": {"enabled": True}}
    return list(rendered(values, kubernetes=whole, serves=SERVED[name]).values())


@pytest.mark.parametrize("version", VERSIONS)
def test_servers_old_and_new_take_every_object(version: str) -> None:
    items = distinct(item for name in SERVED for item in all_of(name, version))
    assert {"CustomResourceDefinition", "Deployment", "ConfigMap"} <= {item["kind"] for item in items}
    for item in items:
        validate(item, version)


@pytest.mark.parametrize("name", SERVED)
def test_every_pod_is_restricted_and_asks_for_no_user(name: str) -> None:
    pods = [pod for item in all_of(name) if (pod := pod_of(item)) is not None]
    assert pods
    for pod in pods:
        assert violations(pod) == []
        for context in [pod["securityContext"], *(each["securityContext"] for each in pod["containers"])]:
            assert not {"runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"} & context.keys()
        assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in pod["containers"])


def told(namespace: str, values: Object | None = None) -> str:
    """All objects of a release in this namespace, as JSON."""
    text = template(values, f"--namespace={namespace}", serves=[MONITORING])
    return json.dumps(list(objects(text).values()))


@pytest.mark.parametrize("namespace", ["123", "0x1f", "on", "null", "2024-01-01"])
def test_a_namespace_that_yaml_takes_for_something_else_is_a_name_everywhere(namespace: str) -> None:
    assert told(namespace) == told("somewhere").replace("somewhere", namespace)
    within = told(namespace, {"namespaces": [namespace]})
    assert within == told("somewhere", {"namespaces": ["somewhere"]}).replace("somewhere", namespace)


@pytest.mark.parametrize("name", ["on", "null"])
def test_what_a_person_names_in_such_a_word_has_that_name(name: str) -> None:
    target = {"model": {"uri": "hf://org/big"}}
    items = rendered({"fullnameOverride": name, "models": {name: {"target": target}}})
    assert the(items, "SpeculativeModel")["metadata"]["name"] == name
    pod = the(items, "Deployment")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == the(items, "ServiceAccount")["metadata"]["name"] == name
    [bound] = the(items, "ClusterRoleBinding")["subjects"]
    assert (bound["name"], the(items, "ClusterRoleBinding")["roleRef"]["name"]) == (name, name)


def test_the_rules_are_those_of_the_file_for_the_releases_namespace() -> None:
    assert the(rendered(serves=[MONITORING]), "PrometheusRule")["spec"] == rule_groups()
    elsewhere = template(None, "--namespace=models", "--show-only=templates/prometheusrule.yaml", serves=[MONITORING])
    made: dict[str, Any] = yaml.safe_load(elsewhere)
    assert made["metadata"]["namespace"] == "models"
    [down, *_] = made["spec"]["groups"][0]["rules"]
    assert down["expr"] == 'absent(outrider_operator_leader{namespace="models"} == 1)'
    assert down["labels"]["namespace"] == "models"
    assert NAMESPACE not in elsewhere


def test_each_dashboard_is_a_configmap_with_the_file_as_it_is() -> None:
    made = of_kind(rendered({"dashboard": {"enabled": True}}), "ConfigMap")
    shown = {name: json.loads(text) for each in made for name, text in each["data"].items()}
    assert shown == {file.name: dashboard(file) for file in DASHBOARDS}
    assert len({each["uid"] for each in shown.values()}) == len(DASHBOARDS)
