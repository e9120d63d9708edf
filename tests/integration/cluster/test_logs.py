"""`outrider logs` over HTTP."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest
from integration.cluster.conftest import Start, failed, outrider
from support import cluster_objects as objects
from support.fake_api import FakeApi
from support.waiting import eventually

TARGET = "qwen-coder-target-6d4f-x2x9z"
DRAFT = "qwen-coder-draft-6d4f-x2x9z"


def line(second: int, text: str) -> str:
    return f"2026-11-20T10:00:{second:02d}.000000001Z {text}"


def entry(second: int, **said: object) -> str:
    at = f"2026-11-20T10:00:{second:02d}Z"
    return line(second, json.dumps({"role": "target", "level": "info", "timestamp": at, **said}))


@pytest.fixture
def talking(api: FakeApi) -> FakeApi:
    """A target and a draft that take turns."""
    api.add(objects.model(), objects.pod("target"), objects.pod("draft"))
    api.logs[TARGET, "target"] = [entry(1, event="listening", port=8000), line(4, "plain words")]
    api.logs[DRAFT, "draft"] = [line(2, "loading"), line(3, "ready")]
    return api


@pytest.mark.usefixtures("talking")
def test_both_roles_side_by_side_in_the_order_of_time() -> None:
    result = outrider("logs", "qwen-coder")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "target/6d4f-x2x9z 10:00:01 info    listening port=8000",
        "draft/6d4f-x2x9z  loading",
        "draft/6d4f-x2x9z  ready",
        "target/6d4f-x2x9z plain words",
    ]


@pytest.mark.usefixtures("talking")
def test_raw_lines_are_as_the_pods_wrote_them() -> None:
    lines = outrider("logs", "qwen-coder", "--raw").stdout.splitlines()
    assert json.loads(lines[0])["event"] == "listening"
    assert lines[1:] == ["loading", "ready", "plain words"]
    assert outrider("logs", "qwen-coder", "--json").stdout.splitlines() == lines


@pytest.mark.usefixtures("talking")
def test_one_role_and_the_last_lines() -> None:
    result = outrider("logs", "qwen-coder", "--role", "draft", "--tail", "1")
    assert result.stdout == "draft/6d4f-x2x9z ready\n"


def test_a_span_is_asked_of_the_server(talking: FakeApi) -> None:
    outrider("logs", "qwen-coder", "--since", "1h30m")
    asked = [path for path in talking.requests if "/log?" in path]
    assert len(asked) == 2
    assert all("sinceSeconds=5400" in path and "follow" not in path for path in asked)


def test_previous_is_of_those_that_have_ended_before(talking: FakeApi) -> None:
    talking.previous[TARGET, "target"] = [line(0, "out of memory")]
    result = outrider("logs", "qwen-coder", "--previous")
    assert (result.exit_code, result.stdout) == (0, "target/6d4f-x2x9z out of memory\n")
    assert result.stderr == (f'draft/6d4f-x2x9z: previous terminated container "draft" in pod "{DRAFT}" not found\n')


def test_a_pod_that_has_no_log_yet_is_told_of(talking: FakeApi) -> None:
    no_image = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
    talking.add(objects.pod("target", suffix="new", state=no_image))
    result = outrider("logs", "qwen-coder", "--role", "target", "--tail", "1")
    assert result.exit_code == 0
    assert result.stdout == "target/6d4f-x2x9z plain words\n"
    assert result.stderr == "target/new: no log yet: Back-off pulling image\n"


def test_what_runs_before_the_model_is_printed_too(talking: FakeApi) -> None:
    item = objects.pod("target", suffix="new", state={"waiting": {"reason": "PodInitializing"}})
    item["spec"]["initContainers"] = [{"name": "fetch"}]
    item["status"]["initContainerStatuses"] = [{"name": "fetch", "state": objects.RUNNING}]
    talking.add(item)
    talking.logs["qwen-coder-target-new", "fetch"] = [line(9, "12 of 93 MB")]
    result = outrider("logs", "qwen-coder")
    assert result.stdout.splitlines()[-1] == "target/new/fetch  12 of 93 MB"
    assert result.stderr == "target/new: no log yet: fetch runs first\n"


def test_a_model_without_pods(api: FakeApi) -> None:
    api.add(objects.model())
    result = outrider("logs", "qwen-coder")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "outrider: error: qwen-coder has no pods; see `outrider status qwen-coder`\n"


@pytest.mark.usefixtures("talking")
def test_a_model_that_is_not_there() -> None:
    assert failed(outrider("logs", "qwen")) == "no SpeculativeModel qwen in namespace chat: it has qwen-coder"


def test_without_the_right_to_read_logs(talking: FakeApi) -> None:
    talking.forbidden = {"pods/log"}
    assert failed(outrider("logs", "qwen-coder")).startswith("pods/log is forbidden")


def test_following_goes_on_with_containers_that_start_again_and_pods_that_are_new(
    talking: FakeApi, start: Start
) -> None:
    following = start("logs", "qwen-coder", "-f", stderr=subprocess.DEVNULL)
    assert following.stdout is not None
    first = sorted(following.stdout.readline() for _ in range(4))
    assert first[0] == "draft/6d4f-x2x9z  loading\n"
    assert first[-1] == "target/6d4f-x2x9z plain words\n"

    # Every connection ends; the target has said more by then, within the second of its last line.
    talking.logs[TARGET, "target"].append("2026-11-20T10:00:04.500000000Z after the restart")
    talking.end_logs()
    assert following.stdout.readline() == "target/6d4f-x2x9z after the restart\n"

    talking.logs["qwen-coder-draft-new", "draft"] = [line(30, "here as well")]
    talking.add(objects.pod("draft", suffix="new"))
    assert following.stdout.readline() == "draft/new         here as well\n"
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=60)
    assert following.returncode == 130


def test_what_has_ended_well_is_followed_once(talking: FakeApi, start: Start) -> None:
    item = objects.pod("target", suffix="new")
    item["spec"]["initContainers"] = [{"name": "fetch"}]
    item["status"]["initContainerStatuses"] = [{"name": "fetch", "state": {"terminated": {"exitCode": 0}}}]
    talking.objects[1:] = [item]
    talking.logs["qwen-coder-target-new", "fetch"] = [line(1, "93 of 93 MB")]
    talking.logs["qwen-coder-target-new", "target"] = [line(2, "listening")]
    talking.end_logs()
    following = start("logs", "qwen-coder", "-f")
    eventually("connections that end are made again", lambda: talking.asked("container=target") > 2)
    following.send_signal(signal.SIGINT)
    out, _ = following.communicate(timeout=60)
    assert sorted(out.splitlines()) == ["target/new       listening", "target/new/fetch 93 of 93 MB"]
    assert talking.asked("container=fetch") == 1


def test_following_outlives_an_api_server_that_does_not_answer(talking: FakeApi, start: Start) -> None:
    following = start("logs", "qwen-coder", "-f", "--role", "draft")
    assert following.stdout is not None
    assert following.stderr is not None
    assert [following.stdout.readline() for _ in range(2)][-1] == "draft/6d4f-x2x9z ready\n"
    talking.broken = True
    assert "no answer, asking again: the server is busy" in following.stderr.readline()
    talking.logs["qwen-coder-draft-new", "draft"] = [line(30, "here as well")]
    talking.add(objects.pod("draft", suffix="new"))
    talking.broken = False
    assert following.stdout.readline() == "draft/new        here as well\n"


def test_whoever_reads_may_stop(talking: FakeApi, start: Start) -> None:
    """As `outrider logs | head -1` does."""
    talking.logs[TARGET, "target"] = [line(5, "x" * 1000)] * 2000
    following = start("logs", "qwen-coder")
    assert following.stdout is not None
    assert following.stderr is not None
    assert following.stdout.readline()
    following.stdout.close()
    assert "Traceback" not in following.stderr.read()
    assert following.wait(60) != 0
