"""What a person reads of a cluster's models."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from outrider_operator.cluster import status_view, top_view
from outrider_operator.cluster.observed import Observed, event, pod, replicas
from outrider_operator.cluster.top_view import ModelRow, PodRow
from outrider_operator.measure.figures import DraftFigures, TargetFigures
from rich.console import Console, RenderableType
from support import cluster_objects as objects

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
BUSY = TargetFigures(2, 1, 62.44, 2.414, 0.48, 0.31, 0.0834, 0.12, 0.04)
DRAFTING = DraftFigures(2, 96.4, 0.78)
IDLE = TargetFigures(0, 0, None, None, None, None, None, None, None)


def shown(*parts: RenderableType, columns: int = 160) -> list[str]:
    console = Console(width=columns, record=True, file=io.StringIO())
    for part in parts:
        console.print(part)
    return [line.rstrip() for line in console.export_text().splitlines()]


def words(line: str) -> list[str]:
    return line.split()


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        ("2026-11-20T11:59:18Z", "42s"),
        ("2026-11-20T11:58:01Z", "119s"),
        ("2026-11-20T11:55:00Z", "5m"),
        ("2026-11-20T09:00:00Z", "3h"),
        ("2026-11-08T12:00:00Z", "12d"),
        ("2026-11-20T12:00:05Z", "0s"),  # another machine's clock
    ],
)
def test_ages_are_kubectls(timestamp: str, text: str) -> None:
    assert status_view.ago(timestamp, NOW) == text


def test_the_page_of_a_model_that_is_ready() -> None:
    model = objects.model(acceptedTokensPerStep=2.41, acceptanceRate=0.48, goodputGain=1.42, itlP95="83ms")
    counted = {"target": objects.deployment("target", 1, 1), "draft": objects.deployment("draft", 2, 1)}
    of_roles = {role: each for (_, _, role), each in replicas(counted.values()).items()}
    lines = shown(*status_view.one(Observed(model, of_roles, [pod(objects.pod("target"))], [], []), NOW))
    assert lines[:3] == [
        "qwen-coder  Ready  http://qwen-coder-target.chat.svc:8000  namespace chat, 2h old",
        "target  hf://org/big    1/1 ready",
        "draft   hf://org/small  1/2 ready",
    ]
    assert lines[3] == "accepted/step 2.41  acceptance 48 %  speculation earns 1.42×  ITL p95 83ms"
    assert words(lines[5]) == ["condition", "status", "since", "reason", "message"]
    assert words(lines[7])[:4] == ["Ready", "True", "119m", "Serving"]
    assert words(lines[10]) == ["qwen-coder-target-6d4f-x2x9z", "Ready", "0", "2h"]


def test_the_page_of_a_model_that_is_not_says_why_and_what_could_not_be_read() -> None:
    model = objects.model(ready="False")
    model["metadata"]["generation"] = 3
    about = objects.event(model, "NotAccepted", "spec.target.dtype:\nbad", "2026-11-20T11:59:00Z", "Warning", count=4)
    lines = shown(*status_view.one(Observed(model, {}, [], [event(about)], ["pods: forbidden"]), NOW))
    assert lines[0].startswith("qwen-coder  not ready")
    assert lines[1] == "the operator has not taken up the newest change yet"
    assert words(lines[-2]) == ["60s", "Warning", "NotAccepted", "spec.target.dtype:", "bad", "(4", "times)"]
    assert lines[-1] == "not read: pods: forbidden"


def test_the_page_has_what_autoscaling_did_last() -> None:
    decided = [
        {"time": "2026-11-20T11:55:00Z", "role": "speculation", "from": 1, "to": 0, "reason": "DoesNotPay"},
        {"time": "2026-11-20T11:00:00Z", "role": "target", "from": 1, "to": 3, "reason": "ScaleUp"},
    ]
    model = objects.model(scalingDecisions=[{**each, "message": "for\na reason"} for each in decided])
    lines = shown(*status_view.one(Observed(model, {}, [], [], []), NOW))
    assert words(lines[-3]) == ["decided", "what", "change", "reason", "message"]
    assert words(lines[-2]) == ["5m", "speculation", "on", "→", "off", "DoesNotPay", "for", "a", "reason"]
    assert words(lines[-1]) == ["60m", "target", "1", "→", "3", "ScaleUp", "for", "a", "reason"]
    assert status_view.one_as_json(Observed(model, {}, [], [], []))["decisions"][1]["to"] == 3


def test_a_model_that_no_operator_has_seen() -> None:
    lines = shown(*status_view.one(Observed(objects.model(ready=None), {}, [], [], []), NOW))
    assert lines[-1] == "no conditions: the operator has not looked at it yet; see whether it runs"


def test_the_list_has_a_row_a_model() -> None:
    models = [objects.model(), objects.model("other", "search", ready="False")]
    lines = shown(status_view.listed(models, replicas([objects.deployment("target", 2, 1)]), True, NOW))
    assert words(lines[0]) == ["namespace", "name", "ready", "target", "draft", "age", "reason", "url"]
    assert words(lines[1])[:7] == ["chat", "qwen-coder", "yes", "1/2", "–", "2h", "Serving"]
    assert words(lines[2])[:7] == ["search", "other", "no", "–", "–", "2h", "TargetNotReady"]


def test_top_has_a_row_a_model_and_a_row_a_pod() -> None:
    target, draft = pod(objects.pod("target")), pod(objects.pod("draft"))
    rows = [ModelRow("chat", "qwen-coder", "Ready", BUSY, [PodRow(target, BUSY, ""), PodRow(draft, DRAFTING, "")])]
    *heading, of_model, of_target, of_draft = shown(*top_view.page(rows, with_namespace=False), columns=80)
    assert [words(line) for line in heading] == [
        ["model", "run/", "tokens", "per", "accept", "TTFT", "ITL", "KV", "draft"],
        ["pod", "state", "wait", "/s", "step", "rate", "p95", "p95", "use", "wait"],
    ]
    figures = words("2/1 62.4 2.41 48 % 310 ms 83 ms 12 % 4 %")
    assert words(of_model) == ["qwen-coder", "Ready", *figures]
    assert words(of_target) == ["target", "…x2x9z", "Ready", *figures]
    assert words(of_draft) == ["draft", "…x2x9z", "Ready", "2", "96.4", "78", "%"]


def test_top_shows_what_does_not_answer_as_such() -> None:
    silent = pod(objects.pod("target"))
    crashed = pod(objects.pod("draft", state={"waiting": {"reason": "CrashLoopBackOff"}}))
    pods = [PodRow(silent, None, "does not answer: refused"), PodRow(crashed, None, "does not run: CrashLoopBackOff")]
    rows = [ModelRow("chat", "qwen-coder", "Ready", None, pods), ModelRow("chat", "empty", "not ready", None, [])]
    lines = shown(*top_view.page(rows, with_namespace=True))
    assert words(lines[2]) == ["chat/qwen-coder", "Ready"]
    assert words(lines[3]) == ["target", "…x2x9z", "no", "answer"]
    assert words(lines[4]) == ["draft", "…x2x9z", "CrashLoopBackOff"]
    assert lines[6:] == [
        "qwen-coder-target-6d4f-x2x9z: does not answer: refused",
        "qwen-coder-draft-6d4f-x2x9z: does not run: CrashLoopBackOff",
        "empty: no pods",
    ]


def test_what_was_not_measured_is_a_dash_and_null() -> None:
    row = ModelRow("chat", "qwen-coder", "Ready", IDLE, [PodRow(pod(objects.pod("target")), IDLE, "")])
    assert words(shown(*top_view.page([row], False))[2]) == ["qwen-coder", "Ready", "0/0", *["–"] * 7]
    made = top_view.as_json([row], "2026-11-20T12:00:00+00:00")
    [of_model] = made["models"]
    assert of_model["figures"]["itl_p95_s"] is None
    assert of_model["pods"][0]["answers"] is True


def test_seconds_are_written_as_such() -> None:
    slow = TargetFigures(1, 0, 1.0, 1.0, None, 42.0, 9.9996, None, None)
    assert top_view.cells(slow)[4:6] == ["42.0 s", "10000 ms"]
