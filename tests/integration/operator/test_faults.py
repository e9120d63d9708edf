"""What goes wrong between the operator and the API server, and that nothing comes of it but a delay."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.control_plane import ControlPlane
from cluster.kubectl import Kubectl
from cluster.operator_process import CRD, Operator
from cluster.proxy import Answer, FaultyProxy, Request
from integration.operator.cluster_state import (
    EXPECTED,
    FIRST_WRITES,
    NAME,
    children,
    condition,
    patch,
    sample,
    until_complete,
)
from integration.operator.conftest import StartOperator

FAULTS = {
    "conflict": Answer(409),
    "too many requests": Answer(429, retry_after_s=1),
    "server error": Answer(500),
    "connection cut": Answer(0),
    "connection cut after the call": Answer(0, after_the_call=True),
}


def told(kubectl: Kubectl, namespace: str) -> dict[str, Any]:
    """What the Deployments and NetworkPolicies say."""
    return {
        name: item["spec"]
        for name, item in children(kubectl, namespace).items()
        if item["kind"] in ("Deployment", "NetworkPolicy")
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_every_third_write_fails_and_all_comes_about(
    kubectl: Kubectl,
    start_operator: StartOperator,
    proxy: FaultyProxy,
    through_proxy: Path,
    namespace: str,
    fault: str,
) -> None:
    counted = itertools.count(1)

    def judge(request: Request) -> Answer | None:
        return FAULTS[fault] if request.writes and next(counted) % 3 == 0 else None

    proxy.judge = judge
    start_operator(kubeconfig=through_proxy)
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
    kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["status"] == "True", "the status")


def test_an_answer_that_does_not_come_is_given_up_and_asked_for_again(
    kubectl: Kubectl, start_operator: StartOperator, proxy: FaultyProxy, through_proxy: Path, namespace: str
) -> None:
    hung = threading.Event()

    def judge(request: Request) -> Answer | None:
        if request.method == "PATCH" and not hung.is_set():
            hung.set()
            return Answer(504, hangs_s=300)
        return None

    proxy.judge = judge
    start_operator(kubeconfig=through_proxy)
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
    assert hung.is_set()


def test_after_cut_watches_a_change_is_seen(
    kubectl: Kubectl, start_operator: StartOperator, proxy: FaultyProxy, through_proxy: Path, namespace: str
) -> None:
    start_operator(kubeconfig=through_proxy)
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
    proxy.cut_watches()
    patch(kubectl, namespace, {"speculation": {"mode": "Off"}})
    kubectl("delete", "service", f"{NAME}-target", "-n", namespace)
    wanted = {name for name in EXPECTED if not name.endswith(("-draft", "-control"))}
    kubectl.until(lambda: set(children(kubectl, namespace)) == wanted, "the change, and the Service again")


CHANGES: dict[str, Callable[[Kubectl, str], None]] = {
    "create": lambda kubectl, namespace: kubectl.apply(namespace, sample()),
    "update": lambda kubectl, namespace: patch(kubectl, namespace, {"target": {"maxNumSeqs": 3}}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_killed_at_any_write_it_comes_to_the_same_objects(
    kubectl: Kubectl,
    start_operator: StartOperator,
    proxy: FaultyProxy,
    through_proxy: Path,
    namespace: str,
    change: str,
) -> None:
    """Killed at the first write, started anew, killed at the next, and so on, until it gets through: each process finds
    what all before it have left, at every point where one can stop.
    """
    if change == "update":
        undisturbed = start_operator()
        CHANGES["create"](kubectl, namespace)
        until_complete(kubectl, namespace)
        kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["status"] == "True", "the status")
        undisturbed.end()
    CHANGES[change](kubectl, namespace)
    running: list[Operator] = []
    killed = itertools.count()
    lost_answers = {"create": True, "update": False}[change]

    def judge(request: Request) -> Answer | None:
        if not request.writes or not running:
            return None
        process = running.pop().process
        assert process is not None
        process.kill()
        next(killed)
        # Half of them after the server has done it, half before.
        return Answer(0, after_the_call=lost_answers)

    proxy.judge = judge
    wanted = FIRST_WRITES if change == "create" else 1
    for _ in range(wanted):
        operator = start_operator(kubeconfig=through_proxy)
        running.append(operator)
        assert operator.process is not None
        operator.process.wait(60)
        operator.process = None
        # The dead one's Lease is not waited for: it is the next process, not another replica.
        kubectl("delete", "lease", "outrider-operator", "-n", "outrider-system", "--ignore-not-found")
    last = start_operator(kubeconfig=through_proxy)
    until_complete(kubectl, namespace)
    kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["status"] == "True", "the status")
    if change == "update":
        arguments = "jsonpath={.spec.template.spec.containers[0].args}"
        get = ("get", "deployment", f"{NAME}-target", "-n", namespace, "-o", arguments)
        kubectl.until(lambda: "--max-num-seqs=3" in kubectl(*get), "the change")
    survived = told(kubectl, namespace)
    last.end()
    kubectl("delete", "smodel", NAME, "-n", namespace)
    kubectl.until(lambda: not children(kubectl, namespace), "everything is gone")
    start_operator()
    CHANGES["create"](kubectl, namespace)
    if change == "update":
        CHANGES["update"](kubectl, namespace)
    kubectl.until(lambda: told(kubectl, namespace) == survived, "a model that nothing disturbed says the same")


def test_the_server_goes_away_in_the_middle_and_comes_back(
    kubectl: Kubectl, control_plane: ControlPlane, operator: Operator, namespace: str
) -> None:
    kubectl.until(lambda: operator.leads, "it leads")
    kubectl.apply(namespace, sample())
    control_plane.stop("apiserver")
    control_plane.start_apiserver()
    until_complete(kubectl, namespace)
    kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["status"] == "True", "the status")
    patch(kubectl, namespace, {"speculation": {"mode": "Off"}})
    kubectl.until(lambda: not [name for name in children(kubectl, namespace) if name.endswith("-draft")], "a change")


@pytest.mark.usefixtures("operator")
def test_the_crd_is_upgraded_under_the_operator(kubectl: Kubectl, namespace: str) -> None:
    """And taken back at the end, as when a release is rolled back."""
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
    later = yaml.safe_load(CRD.read_text(encoding="utf-8"))
    schema = later["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    schema["spec"]["properties"]["ofALaterRelease"] = {"type": "string", "description": "Not known yet."}
    kubectl("apply", "--validate=false", "-f", "-", stdin=yaml.safe_dump(later))
    patch(kubectl, namespace, {"speculation": {"mode": "Off"}})
    kubectl.until(lambda: not [name for name in children(kubectl, namespace) if name.endswith("-draft")], "a change")
    kubectl("apply", "--validate=false", "-f", str(CRD))
    patch(kubectl, namespace, {"speculation": {"mode": "Auto"}})
    until_complete(kubectl, namespace)


@pytest.mark.usefixtures("operator")
def test_a_namespace_that_is_deleted_takes_its_model_along(kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "namespace", f"{namespace}-gone")
    kubectl.apply(f"{namespace}-gone", sample())
    until_complete(kubectl, f"{namespace}-gone")
    kubectl("delete", "namespace", f"{namespace}-gone", "--timeout=60s")
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
