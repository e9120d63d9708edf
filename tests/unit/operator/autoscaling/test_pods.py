"""Pods as the API server has them, counted as scaling needs them: nobody waits for what does not come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from outrider_operator.autoscaling.observation import Pods
from outrider_operator.autoscaling.pods import SeenPod, counted, model_of, newest, seen_pod
from outrider_operator.resources.draft import draft_deployment
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.pod import Object
from support import cluster_objects as objects
from unit.operator.yaml_models import model

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def ago(minutes: float) -> str:
    return (NOW - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(
    name: str = "a",
    revision: str = "r1",
    age_minutes: float = 60,
    ready: bool = True,
    since_minutes: float | None = None,
    waiting: str = "",
    https: bool = False,
    **status: Any,
) -> Object:
    """since_minutes: when it became ready, or ceased to be; None: no kubelet has said."""
    made = objects.pod("target", suffix=name, ready=ready, https=https)
    made["metadata"] |= {"creationTimestamp": ago(age_minutes)}
    made["metadata"]["labels"]["pod-template-hash"] = revision
    state = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
    conditions = []
    if since_minutes is not None or ready:
        at = ago(age_minutes if since_minutes is None else since_minutes)
        conditions.append({"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": at})
    made["status"] = {
        "phase": "Running",
        "podIP": "10.1.2.3",
        "conditions": conditions,
        "containerStatuses": [{"name": "target", "ready": ready, "restartCount": 2, "state": state}],
        **status,
    }
    return made


def seen(item: Object) -> SeenPod:
    found = seen_pod(item)
    assert found is not None
    return found


def deployment(wanted: int, **status: Any) -> Object:
    made = objects.deployment("target", wanted=wanted, ready=0)
    made["spec"]["progressDeadlineSeconds"] = 35 * 60
    made["status"] |= status
    return made


def test_what_is_kept_of_a_pod_is_where_and_what_it_is() -> None:
    found = seen(pod("a", "r7", https=True))
    assert (found.role, found.revision, found.ip, found.port, found.https) == ("target", "r7", "10.1.2.3", 8000, True)
    assert (found.restarts, found.ready, found.readable) == (2, True, True)


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_has_ended_is_none(phase: str) -> None:
    assert seen_pod(pod(phase=phase)) is None


def test_a_pod_that_is_being_deleted_is_none() -> None:
    ending = pod()
    ending["metadata"]["deletionTimestamp"] = ago(0)
    assert seen_pod(ending) is None


def test_a_pod_without_an_address_cannot_be_read() -> None:
    assert not seen(pod(podIP="")).readable
    assert not seen(pod(ready=False)).readable


def test_the_newest_revision_is_that_of_the_youngest_pod() -> None:
    old, older = seen(pod("a", "old", age_minutes=50)), seen(pod("b", "old", age_minutes=60))
    new = seen(pod("c", "new", age_minutes=1, ready=False))
    assert newest([old, new, older]) == [new]
    assert newest([]) == []


def test_ready_loading_and_missing_pods_are_told_apart() -> None:
    pods = [seen(pod("a")), seen(pod("b", ready=False, age_minutes=10)), seen(pod("c", ready=False, age_minutes=2))]
    assert counted(pods, deployment(wanted=5), NOW) == Pods(wanted=5, ready=1, starting=4, stuck=0)


@pytest.mark.parametrize(
    ("unready", "stuck"),
    [
        pytest.param(pod(ready=False, age_minutes=34), False, id="it loads"),
        pytest.param(pod(ready=False, age_minutes=36), True, id="no start takes so long"),
        pytest.param(pod(ready=False, age_minutes=600, since_minutes=3), False, id="it was ready until just now"),
        pytest.param(pod(ready=False, age_minutes=600, since_minutes=36), True, id="it does not come back"),
        pytest.param(pod(ready=False, age_minutes=4, waiting="ImagePullBackOff"), False, id="a registry may fail once"),
        pytest.param(pod(ready=False, age_minutes=6, waiting="ImagePullBackOff"), True, id="there is no such image"),
        pytest.param(pod(ready=False, age_minutes=6, waiting="CrashLoopBackOff"), True, id="it crashes"),
        pytest.param(pod(ready=False, age_minutes=6, waiting="ContainerCreating"), False, id="a volume may take long"),
        pytest.param(
            pod(
                ready=False,
                age_minutes=6,
                conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}],
            ),
            True,
            id="no node has room",
        ),
        pytest.param(
            pod(ready=False, age_minutes=6, initContainerStatuses=[{"state": {"waiting": {"reason": "ErrImagePull"}}}]),
            True,
            id="what fetches the model does not start",
        ),
    ],
)
def test_a_pod_that_does_not_come_is_stuck_in_the_end(unready: Object, stuck: bool) -> None:
    expected = Pods(wanted=1, ready=0, starting=int(not stuck), stuck=int(stuck))
    assert counted([seen(unready)], deployment(wanted=1), NOW) == expected


def test_a_start_that_fetches_its_model_first_may_take_as_long_as_its_deployment_says() -> None:
    fetching = deployment(wanted=1)
    fetching["spec"]["progressDeadlineSeconds"] = 155 * 60
    loading = [seen(pod(ready=False, age_minutes=120))]
    assert counted(loading, fetching, NOW).starting == 1
    assert counted(loading, deployment(wanted=1), NOW).stuck == 1


@pytest.mark.parametrize(("minutes", "stuck"), [(1, 0), (6, 2)])
def test_pods_that_a_quota_refuses_are_stuck_in_the_end(minutes: float, stuck: int) -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "lastTransitionTime": ago(minutes)}
    found = counted([seen(pod())], deployment(wanted=3, conditions=[refused]), NOW)
    assert (found.ready, found.starting, found.stuck) == (1, 2 - stuck, stuck)


def test_without_a_deployment_there_is_nothing() -> None:
    assert counted([], None, NOW) == Pods(0, 0)


def runs(uri: str, prefetch: bool = True, revision: str | None = None, **others: Any) -> tuple[str, ...]:
    """The model of a draft's pods, as the operator makes them."""
    at = {"uri": uri, **({} if revision is None else {"revision": revision})}
    made = model({"draft": {"model": at, **others}})
    assert made.spec.draft is not None
    deployment = draft_deployment(made, made.spec.draft, Platform(prefetch=prefetch))
    return model_of(deployment["spec"]["template"]["spec"], "draft")


@pytest.mark.parametrize(
    "other",
    [
        {"uri": "hf://org/better"},
        {"uri": "hf://org/small", "revision": "v2"},
        {"uri": "hf://org/small", "quantization": "int8"},
        {"uri": "hf://org/small", "prefetch": False, "revision": "v2"},
        {"uri": "pvc://small/a"},
        {"uri": "pvc://better/a"},
        {"uri": "oci://registry/small:1"},
        {"uri": "oci://registry/small:2"},
    ],
    ids=str,
)
def test_two_models_are_one_where_address_revision_and_quantization_are(other: dict[str, Any]) -> None:
    assert runs(**other) == runs(**other, maxNumSeqs=2)
    others = ["hf://org/small", "pvc://small/b", "oci://registry/small:3"]
    assert runs(**other) not in map(runs, others)
