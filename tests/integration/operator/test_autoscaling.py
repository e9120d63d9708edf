"""The autoscaler on a real API server, with pods that answer on the loopback: what it writes, and what it leaves."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from cluster.kubectl import Kubectl
from cluster.kubelet import Kubelet
from cluster.operator_process import Operator
from cluster.quick_operator import BACKOFF_S
from integration.operator.cluster_state import NAME, condition, events, patch, sample
from integration.operator.conftest import StartOperator
from integration.operator.scaling_state import BUSY, IDLE, SURGE, autoscaling, replicas, set_load, until_scaled

AUTOSCALER = "outrider-autoscaler"


@pytest.fixture
def operator(start_operator: StartOperator) -> Operator:
    return start_operator(in_a_hurry=True)


def deployment(kubectl: Kubectl, namespace: str, role: str) -> Any:
    return json.loads(kubectl("get", f"--raw=/apis/apps/v1/namespaces/{namespace}/deployments/{NAME}-{role}"))


def scaled_by_us(kubectl: Kubectl, namespace: str, role: str) -> bool | None:
    """Whether the server has the replicas as the autoscaler's. None: one before 1.22 does not tell who scaled."""
    if int(json.loads(kubectl("get", "--raw=/version"))["minor"].rstrip("+")) < 22:
        return None
    fields = deployment(kubectl, namespace, role)["metadata"]["managedFields"]
    return AUTOSCALER in {each["manager"] for each in fields if "f:replicas" in each["fieldsV1"].get("f:spec", {})}


def status(kubectl: Kubectl, namespace: str) -> Any:
    return kubectl.read(f"smodel/{NAME}", "-n", namespace).get("status", {})


def decisions(kubectl: Kubectl, namespace: str) -> list[dict[str, Any]]:
    """The newest first."""
    found: list[dict[str, Any]] = status(kubectl, namespace).get("scalingDecisions", [])
    return found


def until_condition(kubectl: Kubectl, namespace: str, type_: str, *wanted: str) -> None:
    """wanted: the status and the reason."""

    def holds() -> bool:
        found = condition(kubectl, namespace, type_)
        return (found["status"], found["reason"]) == wanted

    kubectl.until(holds, f"{type_} {' '.join(wanted)}")


def ticks(operator: Operator, count: int = 3) -> None:
    """Lets the loop come by so often."""
    name = "outrider_operator_scaling_duration_seconds_count"
    end = operator.metrics()[name] + count
    until = time.monotonic() + 60
    while operator.metrics().get(name, 0) < end:
        assert time.monotonic() < until, "the loop stands still"
        time.sleep(0.2)


def desired(operator: Operator, namespace: str, role: str) -> list[tuple[float, str]]:
    """Value and reason of each series."""
    start = f"outrider_desired_replicas,model={NAME},namespace={namespace},reason="
    found = operator.metrics().items()
    ours = [(name.removeprefix(start), value) for name, value in found if name.startswith(start)]
    return [(value, rest.partition(",")[0]) for rest, value in ours if rest.endswith(f",role={role}")]


def test_targets_come_with_the_load_and_go_with_it_and_reconcile_leaves_them(
    kubectl: Kubectl, operator: Operator, kubelet: Kubelet, namespace: str
) -> None:
    set_load(kubelet, SURGE)
    kubectl.apply(namespace, sample(autoscaling=autoscaling(target=(1, 3))))
    until_scaled(kubectl, namespace, "target", 3)
    assert scaled_by_us(kubectl, namespace, "target") in (True, None)
    until_condition(kubectl, namespace, "MetricsAvailable", "True", "Read")
    until_condition(kubectl, namespace, "ScalingActive", "True", "Measuring")
    kubectl.until(lambda: "ScaledUp" in events(kubectl, namespace), "people are told")
    newest = decisions(kubectl, namespace)[0]
    assert (newest["role"], newest["to"]) == ("target", 3)
    assert newest["message"]
    [(wanted, reason)] = desired(operator, namespace, "target")
    assert wanted == 3
    assert reason
    # Reconcile writes the Deployment anew, and another's rights with it.
    patch(kubectl, namespace, {"target": {"maxQueue": 17}})
    arguments = "jsonpath={.spec.template.spec.containers[0].args}"
    get = ("get", "deployment", f"{NAME}-target", "-n", namespace, "-o", arguments)
    kubectl.until(lambda: "--max-queue=17" in kubectl(*get), "the change")
    ticks(operator)
    assert replicas(kubectl, namespace, "target") == 3
    set_load(kubelet, IDLE)
    until_scaled(kubectl, namespace, "target", 1)
    kubectl.until(lambda: "ScaledDown" in events(kubectl, namespace), "people are told")


def test_what_is_measured_stands_in_the_status_of_a_model_that_nobody_scales_and_rest_writes_nothing(
    kubectl: Kubectl, operator: Operator, kubelet: Kubelet, namespace: str
) -> None:
    set_load(kubelet, BUSY)
    kubectl.apply(namespace, sample())
    kubectl.until(lambda: "itlP95" in status(kubectl, namespace), "figures")
    found = status(kubectl, namespace)
    assert found["goodputGain"] == 1.5
    assert found["acceptedTokensPerStep"] == 2
    assert 0 < found["acceptanceRate"] < 1
    until_condition(kubectl, namespace, "SpeculationActive", "True", "Speculating")
    until_condition(kubectl, namespace, "DraftCompatible", "True", "Compatible")
    assert condition(kubectl, namespace, "ScalingActive")["status"] == ""
    ticks(operator, 10)
    before = operator.writes
    ticks(operator, 10)
    assert operator.writes == before
    set_load(kubelet, IDLE)
    kubectl.until(lambda: "itlP95" not in status(kubectl, namespace), "nothing is measured any more")


def test_advice_touches_nothing_and_says_what_it_would(
    kubectl: Kubectl, operator: Operator, kubelet: Kubelet, namespace: str
) -> None:
    set_load(kubelet, SURGE)
    kubectl.apply(namespace, sample(autoscaling=autoscaling(mode="Advisory", target=(1, 3))))
    kubectl.until(lambda: bool(decisions(kubectl, namespace)), "advice")
    until_condition(kubectl, namespace, "ScalingActive", "True", "Advisory")
    ticks(operator, 5)
    advice = decisions(kubectl, namespace)[-1]
    assert (advice["role"], advice["from"]) == ("target", 1)
    assert advice["to"] > 1
    assert [value for value, _ in desired(operator, namespace, "target")] > [1]
    assert replicas(kubectl, namespace, "target") == 1
    assert scaled_by_us(kubectl, namespace, "target") in (False, None)
    assert "ScaledUp" not in events(kubectl, namespace)


def test_a_draft_that_does_not_fit_is_told_in_the_targets_own_words(
    kubectl: Kubectl, operator: Operator, kubelet: Kubelet, namespace: str
) -> None:
    kubectl.apply(namespace, sample())
    until_condition(kubectl, namespace, "DraftCompatible", "True", "Compatible")
    draft = {"address": "10.1.2.3:50051", "state": "Incompatible", "reason": "tokenizers differ: 151936 and 49152"}
    for target in kubelet.targets.values():
        target.health = json.dumps({"speculation": {"drafts": [draft]}})
        target.incompatible, target.connected = 1, 0
    until_condition(kubectl, namespace, "DraftCompatible", "False", "Incompatible")
    assert "tokenizers differ" in condition(kubectl, namespace, "DraftCompatible")["message"]
    until_condition(kubectl, namespace, "SpeculationActive", "False", "NotConnected")
    kubectl.until(lambda: "DraftIncompatible" in events(kubectl, namespace), "people are told")
    assert operator.leads


def test_without_metrics_replicas_hold_and_the_status_says_so(
    kubectl: Kubectl, operator: Operator, kubelet: Kubelet, namespace: str
) -> None:
    set_load(kubelet, SURGE)
    kubectl.apply(namespace, sample(autoscaling=autoscaling(target=(1, 2))))
    until_scaled(kubectl, namespace, "target", 2)
    until_condition(kubectl, namespace, "MetricsAvailable", "True", "Read")
    kubelet.broken = True
    until_condition(kubectl, namespace, "MetricsAvailable", "False", "NoAnswer")
    until_condition(kubectl, namespace, "ScalingActive", "False", "NoMetrics")
    kubectl.until(lambda: "ScalingHeld" in events(kubectl, namespace), "people are told")
    ticks(operator, 10)  # longer than the window to scale down
    assert replicas(kubectl, namespace, "target") == 2
    set_load(kubelet, IDLE)
    kubelet.broken = False
    until_scaled(kubectl, namespace, "target", 1)
    until_condition(kubectl, namespace, "ScalingActive", "True", "Measuring")


@pytest.mark.usefixtures("operator")
def test_a_pod_that_never_comes_does_not_keep_the_others_from_going(
    kubectl: Kubectl, kubelet: Kubelet, namespace: str
) -> None:
    set_load(kubelet, SURGE)
    kubectl.apply(namespace, sample(autoscaling=autoscaling(target=(1, 3))))
    kubectl.until(lambda: bool(kubelet.targets), "the first target")
    kubelet.roles["target"].starts = False
    kubelet.roles["target"].waiting = "ImagePullBackOff"
    kubectl.until(lambda: (replicas(kubectl, namespace, "target") or 0) > 1, "more are asked for")
    set_load(kubelet, IDLE)
    until_scaled(kubectl, namespace, "target", 1)


def test_an_operator_that_is_started_in_a_surge_takes_no_target_away_before_it_has_seen_a_whole_window(
    kubectl: Kubectl, operator: Operator, start_operator: StartOperator, kubelet: Kubelet, namespace: str
) -> None:
    window_s = 15
    set_load(kubelet, SURGE)
    kubectl.apply(namespace, sample(autoscaling=autoscaling(window_s, target=(1, 3))))
    until_scaled(kubectl, namespace, "target", 3)
    kubectl.until(lambda: len(kubelet.targets) == 3, "three targets")
    operator.end(kill=True)
    set_load(kubelet, IDLE)  # or so it looks to one that has just come
    kubectl("delete", "lease", "outrider-operator", "-n", "outrider-system", "--ignore-not-found")
    started_s = time.monotonic()
    start_operator(in_a_hurry=True)
    until_scaled(kubectl, namespace, "target", 1)

    def fewer_s() -> list[float]:
        since = (each for each in kubelet.looks if each.at_s > started_s)
        return [each.at_s for each in since if each.replicas.get("target", 3) < 3]

    kubectl.until(lambda: bool(fewer_s()), "the kubelet, which looks five times a second, has seen fewer")
    assert fewer_s()[0] - started_s >= window_s


def test_replicas_are_handed_over_to_the_autoscaler_and_back_and_no_pod_goes(
    kubectl: Kubectl, operator: Operator, kubelet: Kubelet, namespace: str
) -> None:
    model = sample()
    model["spec"]["target"]["replicas"] = 3
    set_load(kubelet, SURGE)
    kubectl.apply(namespace, model)
    until_scaled(kubectl, namespace, "target", 3)
    kubectl.until(lambda: len(kubelet.targets) == 3, "three targets")
    before = len(kubelet.looks)
    patch(kubectl, namespace, {"target": {"replicas": None}, "autoscaling": autoscaling(600, target=(1, 3))})
    until_condition(kubectl, namespace, "ScalingActive", "True", "Measuring")
    ticks(operator, 5)
    assert {each.replicas["target"] for each in kubelet.looks[before:]} == {3}
    patch(kubectl, namespace, {"target": {"replicas": 2}, "autoscaling": None})
    until_scaled(kubectl, namespace, "target", 2)
    kubectl.until(lambda: condition(kubectl, namespace, "ScalingActive")["status"] == "", "no more of it")
    assert scaled_by_us(kubectl, namespace, "target") in (False, None)
    kubectl("scale", f"deployment/{NAME}-target", "--replicas=1", "-n", namespace)
    until_scaled(kubectl, namespace, "target", 2)


def test_a_draft_that_does_not_pay_goes_when_nobody_asks_it_any_more_and_is_asked_again_when_it_is_there(
    kubectl: Kubectl, operator: Operator, kubelet: Kubelet, namespace: str
) -> None:
    set_load(kubelet, replace(BUSY, gain=0.8, accepted=0.05))
    kubectl.apply(namespace, sample(autoscaling=autoscaling(draft=(0, 1))))
    until_scaled(kubectl, namespace, "draft", 0)
    until_condition(kubectl, namespace, "SpeculationActive", "False", "Stopped")
    kubectl.until(lambda: {"SpeculationStopped", "ScaledDown"} <= set(events(kubectl, namespace)), "people are told")
    kubectl.until(lambda: any(each.replicas.get("draft") == 0 for each in kubelet.looks), "the kubelet has seen it go")
    looks = list(kubelet.looks)
    gone = next(index for index, look in enumerate(looks) if look.replicas.get("draft") == 0)
    stopped = next(index for index, look in enumerate(looks) if look.told == "off")
    assert stopped < gone, "told first"
    assert looks[gone - 1].allowed == 0, "and heard"
    set_load(kubelet, replace(BUSY, gain=1.5, accepted=0.8))
    until_condition(kubectl, namespace, "SpeculationActive", "True", "Speculating")
    again = kubelet.looks[gone:]
    asked = next(index for index, look in enumerate(again) if look.told == "on")
    assert again[asked].drafts == 1, "a draft answers before it is asked"
    kubectl.until(lambda: {"SpeculationStarted", "ScaledUp"} <= set(events(kubectl, namespace)), "people are told")
    assert {each["role"] for each in decisions(kubectl, namespace)} == {"draft", "speculation"}
    assert operator.leads


def test_an_operator_that_is_started_anew_leaves_speculation_off(
    kubectl: Kubectl, operator: Operator, start_operator: StartOperator, kubelet: Kubelet, namespace: str
) -> None:
    set_load(kubelet, replace(BUSY, gain=0.8, accepted=0.05))
    kubectl.apply(namespace, sample(autoscaling=autoscaling(draft=(0, 1))))
    until_scaled(kubectl, namespace, "draft", 0)
    operator.end(kill=True)
    kubectl("delete", "lease", "outrider-operator", "-n", "outrider-system", "--ignore-not-found")
    started_s = time.monotonic()
    start_operator(in_a_hurry=True)
    # It probes in the end, as it would have.
    kubectl.until(lambda: replicas(kubectl, namespace, "draft") == 1, "a probe")
    early = [look for look in kubelet.looks if started_s < look.at_s < started_s + BACKOFF_S]
    assert {(look.told, look.replicas.get("draft")) for look in early} == {("off", 0)}


def test_an_autoscaler_of_kubernetes_on_the_draft_is_left_to_its_work(
    kubectl: Kubectl, operator: Operator, kubelet: Kubelet, namespace: str
) -> None:
    set_load(kubelet, SURGE)
    kubectl.apply(namespace, sample(autoscaling=autoscaling(target=(1, 2), draft=(1, 3))))
    until_condition(kubectl, namespace, "ScalingActive", "True", "Measuring")
    kubectl("autoscale", "deployment", f"{NAME}-draft", "--min=1", "--max=9", "--name=by-cpu", "-n", namespace)
    until_condition(kubectl, namespace, "ScalingActive", "False", "ScaledByOthers")
    assert "the draft by HorizontalPodAutoscaler by-cpu" in condition(kubectl, namespace, "ScalingActive")["message"]
    assert desired(operator, namespace, "draft") == []
    kubectl("scale", f"deployment/{NAME}-draft", "--replicas=5", "-n", namespace)  # as it would
    ticks(operator, 5)
    patch(kubectl, namespace, {"draft": {"maxNumSeqs": 3}})
    arguments = "jsonpath={.spec.template.spec.containers[0].args}"
    get = ("get", "deployment", f"{NAME}-draft", "-n", namespace, "-o", arguments)
    kubectl.until(lambda: "--max-num-seqs=3" in kubectl(*get), "the change")
    ticks(operator, 5)
    assert replicas(kubectl, namespace, "draft") == 5
    until_scaled(kubectl, namespace, "target", 2)  # the other role is still the operator's
    kubectl("delete", "hpa", "by-cpu", "-n", namespace)
    until_condition(kubectl, namespace, "ScalingActive", "True", "Measuring")
    kubectl.until(lambda: (replicas(kubectl, namespace, "draft") or 9) <= 3, "within the bounds again")


@pytest.mark.usefixtures("operator")
def test_the_models_own_scale_is_followed_and_refused_beside_autoscaling(kubectl: Kubectl, namespace: str) -> None:
    kubectl.apply(namespace, sample())
    kubectl.until(lambda: "targetSelector" in status(kubectl, namespace), "its status, which /scale shows")
    kubectl("autoscale", "smodel", NAME, "--min=1", "--max=9", "-n", namespace)
    kubectl("scale", f"smodel/{NAME}", "--replicas=4", "-n", namespace)  # as the HorizontalPodAutoscaler would
    until_scaled(kubectl, namespace, "target", 4)
    kubectl("scale", f"smodel/{NAME}", "--replicas=1", "-n", namespace)
    patch(kubectl, namespace, {"autoscaling": autoscaling(target=(1, 3))})
    refused = kubectl("scale", f"smodel/{NAME}", "--replicas=4", "-n", namespace, ok=False)
    if "remove one of the two" not in refused:  # a server without CEL takes it: then the operator says so
        until_condition(kubectl, namespace, "Accepted", "False", "Invalid")
        assert "remove one of the two" in condition(kubectl, namespace, "Accepted")["message"]


def test_while_a_model_is_paused_its_replicas_stay(
    kubectl: Kubectl, operator: Operator, kubelet: Kubelet, namespace: str
) -> None:
    set_load(kubelet, SURGE)
    kubectl.apply(namespace, sample(paused=False, autoscaling=autoscaling(target=(1, 3))))
    until_scaled(kubectl, namespace, "target", 3)
    patch(kubectl, namespace, {"paused": True})
    until_condition(kubectl, namespace, "ScalingActive", "False", "Paused")
    set_load(kubelet, IDLE)
    ticks(operator, 10)
    assert replicas(kubectl, namespace, "target") == 3
    patch(kubectl, namespace, {"paused": False})
    until_scaled(kubectl, namespace, "target", 1)
