"""`outrider top` over HTTP: the pods' metrics by way of the API server's proxy."""

from __future__ import annotations

import json
import os
import pty
import signal
from typing import Any

import pytest
from integration.cluster.conftest import Start, outrider
from support import cluster_objects as objects
from support.fake_api import FakeApi

TARGET = "qwen-coder-target-6d4f-x2x9z"
DRAFT = "qwen-coder-draft-6d4f-x2x9z"


def target_page(tokens: int) -> str:
    """A target's /metrics after so many tokens."""
    of_model = 'model_name="qwen-coder"'
    return "\n".join(
        [
            f"outrider_num_requests_running{{{of_model}}} 2",
            f"outrider_num_requests_waiting{{{of_model}}} 1",
            f"outrider_generation_tokens_total{{{of_model}}} {tokens}",
            f"outrider_decode_tokens_total{{{of_model}}} {tokens}",
            f"outrider_decode_sequence_steps_total{{{of_model}}} {tokens / 2}",
            f"outrider_kv_cache_usage_perc{{{of_model}}} 0.12",
            f'outrider_step_seconds_total{{{of_model},part="draft_wait"}} {tokens}',
            f'outrider_step_seconds_total{{{of_model},part="forward"}} {tokens * 3}',
            "",
        ]
    )


def draft_page(commits: int) -> str:
    return "\n".join(
        [
            "outrider_draft_sequences 3",
            f"outrider_draft_tokens_total {commits}",
            f"outrider_draft_commits_total {commits}",
            f"outrider_draft_commit_hits_total {commits * 0.75}",
            "",
        ]
    )


@pytest.fixture
def busy(api: FakeApi) -> FakeApi:
    """A target and a draft that both did something between two readings."""
    api.add(objects.model(), objects.pod("target"), objects.pod("draft"))
    api.pages[f"{TARGET}:8000"] = [target_page(100), target_page(300)]
    api.pages[f"{DRAFT}:9400"] = [draft_page(10), draft_page(50)]
    return api


def report(*args: str) -> dict[str, Any]:
    result = outrider("top", "--interval", "0.1", "--json", *args)
    assert (result.exit_code, result.stderr) == (0, "")
    [line] = result.stdout.splitlines()
    made: dict[str, Any] = json.loads(line)
    return made


@pytest.mark.usefixtures("busy")
def test_one_shot_reads_twice_and_has_a_row_a_model_and_a_pod() -> None:
    result = outrider("top", "--interval", "0.1")
    assert (result.exit_code, result.stderr) == (0, "")
    *heading, of_model, of_target, of_draft = result.stdout.splitlines()
    assert [line.split()[0] for line in heading] == ["model", "pod"]
    assert of_model.split()[:3] == ["qwen-coder", "Ready", "2/1"]
    assert of_target.split()[:4] == ["target", "…x2x9z", "Ready", "2/1"]
    assert of_draft.split()[:4] == ["draft", "…x2x9z", "Ready", "3"]
    assert of_draft.split()[-2:] == ["75", "%"]


def test_a_pod_that_does_not_answer_is_shown_and_the_others_are_read(busy: FakeApi) -> None:
    del busy.pages[f"{DRAFT}:9400"]
    result = outrider("top", "--interval", "0.1")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[4].split() == ["draft", "…x2x9z", "no", "answer"]
    assert lines[5].startswith(f"{DRAFT}: does not answer: error trying to reach service: dial tcp")


def test_a_pod_that_has_stopped_answering_has_no_figures_any_more(busy: FakeApi) -> None:
    busy.pages[f"{DRAFT}:9400"] = [draft_page(10), ""]
    draft = report()["models"][0]["pods"][1]
    assert (draft["answers"], draft["figures"]) == (False, None)


def test_a_pod_that_answers_something_else_is_shown_as_such(busy: FakeApi) -> None:
    busy.pages[f"{DRAFT}:9400"] = ["<html>"]
    draft = report()["models"][0]["pods"][1]
    assert (draft["answers"], draft["reason"]) == (False, "does not answer: what it sends is no metrics")


def test_a_pod_that_does_not_run_is_not_asked(busy: FakeApi) -> None:
    crashed = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}
    busy.add(objects.pod("target", suffix="old", state=crashed))
    pods = report()["models"][0]["pods"]
    assert [(pod["state"], pod["answers"], pod["reason"]) for pod in pods if pod["name"].endswith("old")] == [
        ("CrashLoopBackOff", False, "does not run: back-off 40s")
    ]
    assert not [path for path in busy.requests if "/proxy/" in path and "-old:" in path]


def test_where_nothing_answers_the_exit_code_is_1(busy: FakeApi) -> None:
    busy.forbidden = {"pods/proxy"}
    result = outrider("top")
    assert result.exit_code == 1
    assert f"{TARGET}: not read: ask for the right to get pods/proxy in namespace chat" in result.stdout


def test_a_pod_with_https_is_asked_over_https(busy: FakeApi) -> None:
    busy.objects[1] = objects.pod("target", https=True)
    busy.pages[f"https:{TARGET}:8000"] = busy.pages.pop(f"{TARGET}:8000")
    assert report()["models"][0]["pods"][0]["answers"]


def test_one_model_or_all_of_all_namespaces(busy: FakeApi) -> None:
    busy.add(objects.model("idle"), objects.model("far", "search", ready="False"))
    assert [each["name"] for each in report("qwen-coder")["models"]] == ["qwen-coder"]
    assert [each["name"] for each in report()["models"]] == ["idle", "qwen-coder"]
    everywhere = report("-A")["models"]
    assert [(each["namespace"], each["name"], each["state"]) for each in everywhere] == [
        ("chat", "idle", "Ready"),
        ("chat", "qwen-coder", "Ready"),
        ("search", "far", "not ready"),
    ]
    assert "idle: no pods" in outrider("top", "--interval", "0.1").stdout


@pytest.mark.usefixtures("api")
def test_no_model_at_all() -> None:
    result = outrider("top")
    assert (result.exit_code, result.stdout) == (0, "no SpeculativeModels in namespace chat\n")


@pytest.mark.usefixtures("busy")
def test_in_a_terminal_it_goes_on_until_a_signal(start: Start) -> None:
    ours, theirs = pty.openpty()
    running = start("top", "--interval", "0.1", stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while seen.count(b"tokens") < 3 or b"75 %" not in seen:
        seen += os.read(ours, 4096)
    running.send_signal(signal.SIGINT)
    try:
        while os.read(ours, 4096):
            pass
    except OSError:
        pass  # how Linux says that the other end is closed
    assert running.wait(60) == 130
    os.close(ours)
