"""What the commands make of the API server's objects."""

from __future__ import annotations

from typing import Any

import pytest
from outrider_operator.cluster.observed import event, is_ready, newest, pod, replicas
from support import cluster_objects as objects

CRASHED = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}}
NO_IMAGE = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling\nimage "r/t:1"'}}
OUT_OF_MEMORY = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}


@pytest.mark.parametrize(
    ("made", "state", "message"),
    [
        ({}, "Ready", ""),
        ({"ready": False}, "NotReady", "it runs, and is not ready: it loads its model, or drains"),
        ({"state": CRASHED}, "CrashLoopBackOff", "back-off 40s restarting failed container"),
        ({"state": NO_IMAGE}, "ImagePullBackOff", 'Back-off pulling image "r/t:1"'),
        ({"state": OUT_OF_MEMORY}, "OOMKilled", "exit code 137"),
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, "ContainerCreating", ""),
        ({"state": {}}, "Pending", ""),
    ],
)
def test_a_pods_state_is_what_keeps_it_from_answering(made: dict[str, Any], state: str, message: str) -> None:
    seen = pod(objects.pod("target", **made))
    assert (seen.state, seen.message) == (state, message)


def test_a_pod_that_no_node_takes_says_why() -> None:
    item = objects.pod("target", state={})
    why = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    item["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "message": why}]
    assert (pod(item).state, pod(item).message) == ("Pending", why)


def test_a_pod_that_is_being_deleted_is_terminating() -> None:
    item = objects.pod("target")
    item["metadata"]["deletionTimestamp"] = "2026-11-20T11:00:00Z"
    assert pod(item).state == "Terminating"


def test_a_container_that_runs_first_is_told_while_it_does() -> None:
    item = objects.pod("target", state={"waiting": {"reason": "PodInitializing"}})
    item["spec"]["initContainers"] = [{"name": "fetch"}]
    item["status"]["initContainerStatuses"] = [{"name": "fetch", "state": objects.RUNNING}]
    seen = pod(item)
    assert (seen.state, seen.message) == ("Init:0/1", "fetch runs first")
    assert [(each.name, each.started, each.ended) for each in seen.containers] == [
        ("fetch", True, False),
        ("target", False, False),
    ]

    failed = {"name": "fetch", "state": {"terminated": {"exitCode": 2, "reason": "Error", "message": "no such model"}}}
    item["status"]["initContainerStatuses"] = [failed]
    assert (pod(item).state, pod(item).message) == ("Init:Error", "no such model")

    item["status"]["initContainerStatuses"] = [{"name": "fetch", "state": {"terminated": {"exitCode": 0}}}]
    assert pod(item).containers[0].ended


def test_a_container_that_fell_over_before_has_a_log() -> None:
    before = {"terminated": {"exitCode": 3}}
    assert pod(objects.pod("target", state=CRASHED, lastState=before)).containers[0].started
    assert not pod(objects.pod("target", state=NO_IMAGE)).containers[0].started


@pytest.mark.parametrize(("role", "https", "port"), [("target", True, 8000), ("draft", False, 9400)])
def test_metrics_are_where_the_readiness_probe_is(role: str, https: bool, port: int) -> None:
    seen = pod(objects.pod(role, https=https))
    assert (seen.port, seen.https) == (port, https)


def test_a_name_is_short_without_the_models() -> None:
    assert pod(objects.pod("target", suffix="6d4f-x2x9z")).short_name == "target-6d4f-x2x9z"


def test_ready_is_of_the_newest_spec() -> None:
    model = objects.model()
    assert is_ready(model)
    model["metadata"]["generation"] = 3
    assert not is_ready(model)
    assert not is_ready(objects.model(ready=None))
    assert not is_ready(objects.model(ready="False"))


def test_replicas_are_counted_by_model_and_role() -> None:
    found = replicas([objects.deployment("target", 2, 1), objects.deployment("draft", 1, 1, namespace="search")])
    assert found["chat", "qwen-coder", "target"].ready == 1
    assert found["search", "qwen-coder", "draft"].wanted == 1


def test_the_newest_events_come_first_whichever_time_they_carry() -> None:
    model = objects.model()
    old = objects.event(model, "Old", "long ago", "2026-11-20T10:00:00Z")
    series = {
        **objects.event(model, "Series", "again and\nagain", ""),
        "lastTimestamp": None,
        "eventTime": "2026-11-20T10:00:01.000000Z",
        "series": {"count": 7, "lastObservedTime": "2026-11-20T12:00:00.000000Z"},
    }
    new = objects.event(model, "New", "just now", "2026-11-20T11:00:00Z")
    found = newest(map(event, [old, series, new]), most=2)
    assert [each.reason for each in found] == ["Series", "New"]
    assert (found[0].count, found[0].message, found[0].about) == (7, "again and again", "SpeculativeModel/qwen-coder")
