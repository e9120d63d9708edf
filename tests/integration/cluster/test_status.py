"""`outrider status` over HTTP."""

from __future__ import annotations

import json
import signal

import pytest
from integration.cluster.conftest import Start, failed, outrider
from support import cluster_objects as objects
from support.fake_api import FakeApi
from support.waiting import eventually


@pytest.fixture
def served(api: FakeApi) -> FakeApi:
    """One model that is ready, with its pods, in the namespace of the context."""
    api.add(objects.model(), objects.deployment("target", 1, 1), objects.deployment("draft", 1, 1))
    api.add(objects.pod("target"), objects.pod("draft"))
    return api


def test_a_model_that_is_ready(served: FakeApi) -> None:
    served.add(objects.event(served.objects[0], "Ready", "answers", "2026-11-20T10:01:00Z"))
    result = outrider("status", "qwen-coder")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("qwen-coder  Ready  http://qwen-coder-target.chat.svc:8000  namespace chat")
    for text in ("target  hf://org/big    1/1 ready", "Accepted", "qwen-coder-draft-6d4f-x2x9z", "answers"):
        assert text in result.stdout


def test_a_model_that_is_not_ready_exits_1_with_the_events_of_its_pods(api: FakeApi) -> None:
    waiting = objects.pod("target", state={})
    api.add(objects.model(ready="False"), waiting, objects.pod("draft"))
    api.add(objects.event(waiting, "FailedScheduling", "no node has a GPU", "2026-11-20T10:01:00Z", "Warning"))
    result = outrider("status", "qwen-coder")
    assert result.exit_code == 1
    assert "not ready" in result.stdout.splitlines()[0]
    assert "Pod/qwen-coder-target-6d4f-x2x9z  no node has a GPU" in result.stdout


def test_one_model_as_json(served: FakeApi) -> None:
    served.objects[0]["status"]["acceptanceRate"] = 0.5
    report = json.loads(outrider("status", "qwen-coder", "--json").stdout)
    assert (report["ready"], report["namespace"], report["figures"]) == (True, "chat", {"acceptanceRate": 0.5})
    assert report["roles"]["target"] == {"wanted": 1, "ready": 1, "updated": 1}
    assert [pod["state"] for pod in report["pods"]] == ["Ready", "Ready"]
    assert [each["type"] for each in report["conditions"]] == ["Accepted", "Ready"]


def test_without_a_name_the_namespace_is_listed(served: FakeApi) -> None:
    served.add(objects.model("other", "search", ready="False"))
    result = outrider("status")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["name", "qwen-coder"]
    assert outrider("status", "-n", "search").exit_code == 1


def test_all_namespaces(served: FakeApi) -> None:
    served.add(objects.model("other", "search", ready="False"))
    result = outrider("status", "-A")
    assert result.exit_code == 1
    assert [line.split()[:3] for line in result.stdout.splitlines()[1:]] == [
        ["chat", "qwen-coder", "yes"],
        ["search", "other", "no"],
    ]
    report = json.loads(outrider("status", "-A", "--json").stdout)
    assert [(each["name"], each["reason"]) for each in report["models"]] == [
        ("qwen-coder", "Serving"),
        ("other", "TargetNotReady"),
    ]


def test_an_empty_namespace_is_told_as_such(api: FakeApi) -> None:
    result = outrider("status", "-n", "empty")
    assert (result.exit_code, result.stdout) == (0, "no SpeculativeModels in namespace empty\n")
    assert json.loads(outrider("status", "--json").stdout) == {"models": []}
    assert all("/namespaces/empty/" in path for path in api.requests[:2])


@pytest.mark.usefixtures("served")
def test_a_name_that_is_not_there_names_those_that_are() -> None:
    assert failed(outrider("status", "qwen")) == "no SpeculativeModel qwen in namespace chat: it has qwen-coder"
    assert failed(outrider("status", "qwen", "-n", "search")) == (
        "no SpeculativeModel qwen in namespace search: it has none; choose another by --namespace"
    )


@pytest.mark.parametrize("kind", ["pods", "deployments", "events"])
def test_what_may_not_be_read_is_told_and_the_rest_is_shown(kind: str, served: FakeApi) -> None:
    served.forbidden = {kind}
    result = outrider("status", "qwen-coder")
    assert result.exit_code == 0
    [line] = [line for line in result.stdout.splitlines() if line.startswith("not read: ")]
    assert f"{kind} is forbidden" in line
    assert json.loads(outrider("status", "qwen-coder", "--json").stdout)["unread"]


def test_a_list_without_the_right_to_count_replicas(served: FakeApi) -> None:
    served.forbidden = {"deployments"}
    result = outrider("status")
    assert result.exit_code == 0
    assert "qwen-coder" in result.stdout
    assert "replicas: deployments is forbidden" in result.stderr


def test_a_watch_prints_what_has_changed_until_a_signal(served: FakeApi, start: Start) -> None:
    served.objects[0]["status"]["conditions"][1]["status"] = "False"
    watching = start("status", "qwen-coder", "--watch", "--json")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["ready"] is False
    eventually("it is asked again", lambda: served.asked("/speculativemodels/qwen-coder") > 2)
    served.objects[0]["status"]["conditions"][1]["status"] = "True"
    assert json.loads(watching.stdout.readline())["ready"] is True
    served.objects.clear()
    out, errors = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (2, "")
    assert "no SpeculativeModel qwen-coder in namespace chat" in errors


def test_a_watch_outlives_an_api_server_that_does_not_answer(served: FakeApi, start: Start) -> None:
    watching = start("status", "--watch", "--json")
    assert watching.stdout is not None
    assert watching.stderr is not None
    assert json.loads(watching.stdout.readline())["models"]
    served.broken = True
    assert "asking again: the server is busy" in watching.stderr.readline()
    served.objects[0]["status"]["url"] = "http://new"
    served.broken = False
    assert json.loads(watching.stdout.readline())["models"][0]["url"] == "http://new"
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=60)
    assert watching.returncode == 130
