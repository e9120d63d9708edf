"""The operator on a real API server: kubectl apply, and everything comes about, stays, and goes."""

from __future__ import annotations

import time

import pytest
from cluster.kubectl import Kubectl
from cluster.operator_process import Operator
from integration.operator.cluster_state import (
    FIRST_WRITES,
    NAME,
    children,
    condition,
    events,
    patch,
    sample,
    until_complete,
    until_ready,
)
from integration.operator.stand_ins import served

IMAGE = "jsonpath={.spec.template.spec.containers[0].image}"


def test_a_model_comes_about_becomes_ready_and_goes_with_all_it_had(
    kubectl: Kubectl, operator: Operator, namespace: str
) -> None:
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
    kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["status"] == "True", "Accepted")
    assert condition(kubectl, namespace, "Ready")["reason"] == "TargetNotReady"
    until_ready(kubectl, namespace)
    kubectl("wait", "--for=condition=Ready", "--timeout=10s", f"smodel/{NAME}", "-n", namespace)
    kubectl.until(lambda: "Ready" in events(kubectl, namespace), "people are told")
    kubectl("delete", "smodel", NAME, "-n", namespace)
    kubectl.until(lambda: not children(kubectl, namespace), "everything is gone")
    assert operator.process is not None
    assert operator.process.poll() is None


def test_each_child_is_written_once_and_at_rest_nothing_is(
    kubectl: Kubectl, operator: Operator, namespace: str
) -> None:
    kubectl.until(lambda: operator.leads, "it leads")
    before = operator.until_at_rest()
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
    kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["status"] == "True", "Accepted")
    kubectl.until(lambda: operator.writes - before >= FIRST_WRITES, "the last of them is counted")
    time.sleep(3)
    assert operator.writes - before == FIRST_WRITES, "every child, and the status"


@pytest.mark.usefixtures("operator")
def test_drift_is_put_back_and_told(kubectl: Kubectl, namespace: str) -> None:
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
    before = {name: item["metadata"]["uid"] for name, item in children(kubectl, namespace).items()}
    kubectl("delete", "service", f"{NAME}-draft", "-n", namespace)
    until_complete(kubectl, namespace)
    after = {name: item["metadata"]["uid"] for name, item in children(kubectl, namespace).items()}
    assert {name for name in before if before[name] != after[name]} == {f"Service/{NAME}-draft"}

    def image() -> str:
        return kubectl("get", "deployment", f"{NAME}-target", "-n", namespace, "-o", IMAGE)

    ours = image()
    kubectl("set", "image", f"deployment/{NAME}-target", "target=another", "-n", namespace)
    kubectl.until(lambda: image() == ours, "the image is put back")
    kubectl.until(lambda: {"Restored", "Repaired"} <= set(events(kubectl, namespace)), "both are told")


@pytest.mark.usefixtures("operator")
def test_what_others_set_on_a_child_stays_theirs(kubectl: Kubectl, namespace: str) -> None:
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
    kubectl("annotate", "deployment", f"{NAME}-target", "team=chat", "-n", namespace)
    patch(kubectl, namespace, {"target": {"maxNumSeqs": 3}})
    arguments = "jsonpath={.spec.template.spec.containers[0].args}"

    def told() -> bool:
        return "--max-num-seqs=3" in kubectl("get", "deployment", f"{NAME}-target", "-n", namespace, "-o", arguments)

    kubectl.until(told, "the change")
    item = children(kubectl, namespace)[f"Deployment/{NAME}-target"]
    assert item["metadata"]["annotations"]["team"] == "chat"


@pytest.mark.usefixtures("operator")
def test_without_a_draft_its_objects_are_pruned_and_come_back_with_it(kubectl: Kubectl, namespace: str) -> None:
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
    patch(kubectl, namespace, {"speculation": {"mode": "Off"}})
    kubectl.until(lambda: not [name for name in children(kubectl, namespace) if name.endswith("-draft")], "no draft")
    patch(kubectl, namespace, {"speculation": {"mode": "Auto"}})
    until_complete(kubectl, namespace)


@pytest.mark.usefixtures("operator")
def test_a_bad_spec_is_refused_by_name_and_what_runs_stays(kubectl: Kubectl, namespace: str) -> None:
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
    before = {name: item["metadata"]["resourceVersion"] for name, item in children(kubectl, namespace).items()}
    # A rule between two fields, which only CEL and the operator know: a server of 1.20 takes it.
    patch(kubectl, namespace, {"speculation": {"maxDepth": 16, "maxBranches": 8, "maxNodes": 8}})
    kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["status"] == "False", "refused")
    refused = condition(kubectl, namespace, "Accepted")
    assert refused["message"].startswith("spec.speculation")
    assert "maxNodes" in refused["message"]
    assert refused["observedGeneration"] == 2
    after = {name: item["metadata"]["resourceVersion"] for name, item in children(kubectl, namespace).items()}
    unchanged = {name for name in before if name.split("/")[0] != "Deployment"}
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}
    deployments = [item for name, item in children(kubectl, namespace).items() if name.startswith("Deployment/")]
    assert [item["metadata"]["generation"] for item in deployments] == [1, 1]


@pytest.mark.usefixtures("operator")
def test_an_object_of_another_is_not_taken(kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "service", "clusterip", f"{NAME}-target", "--tcp=80:80", "-n", namespace)
    kubectl.apply(namespace, sample())
    kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["status"] == "False", "it says so")
    assert f"Service {NAME}-target was there before" in condition(kubectl, namespace, "Accepted")["message"]
    assert children(kubectl, namespace) == {}


def test_paused_it_leaves_even_what_is_deleted_and_takes_up_again(
    kubectl: Kubectl, operator: Operator, namespace: str
) -> None:
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
    patch(kubectl, namespace, {"paused": True})
    kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["reason"] == "Paused", "it says so")
    kubectl.until(lambda: "Accepted" in events(kubectl, namespace), "and tells people, after the status")
    before = operator.until_at_rest()
    kubectl("delete", "service", f"{NAME}-draft", "-n", namespace)
    patch(kubectl, namespace, {"target": {"maxNumSeqs": 3}})
    kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["observedGeneration"] == 3, "it has seen both")
    kubectl.until(lambda: operator.writes > before, "which is counted")
    time.sleep(1)
    assert operator.writes == before + 1, "the status, and nothing else"
    assert f"Service/{NAME}-draft" not in children(kubectl, namespace)
    patch(kubectl, namespace, {"paused": False})
    until_complete(kubectl, namespace)


@pytest.mark.usefixtures("operator")
def test_a_secret_that_comes_later_is_asked_for_until_it_is_there(kubectl: Kubectl, namespace: str) -> None:
    model = sample()
    model["spec"]["target"]["model"]["secretRef"] = {"name": "hub"}
    kubectl.apply(namespace, model)
    until_complete(kubectl, namespace)
    kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["reason"] == "Lacking", "it is told")
    assert "no Secret hub; create it" in condition(kubectl, namespace, "Accepted")["message"]
    kubectl("create", "secret", "generic", "hub", "--from-literal=HF_TOKEN=not-to-be-seen", "-n", namespace)
    kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["reason"] == "Valid", "found")
    everything = kubectl("get", "smodel,events,deployments", "-n", namespace, "-o", "yaml")
    assert "not-to-be-seen" not in everything


@pytest.mark.usefixtures("operator", "control_plane")
def test_what_an_api_is_for_comes_with_the_api(kubectl: Kubectl, namespace: str) -> None:
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
    with served(kubectl):
        kubectl.until(lambda: bool(kubectl.read("podmonitors", "-n", namespace)["items"]), "a PodMonitor")
