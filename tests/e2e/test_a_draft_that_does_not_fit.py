"""A draft that cannot help leaves the target serving without it, and everyone who looks is told why."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e.asking import AT_ONCE, GREEDY, ask_at_once, request
from e2e.conftest import Reference
from e2e.resources import CONTEXT_TOKENS, speculative_model
from e2e.running import Up, running
from e2e.tasks import TASKS
from support.tiny import tiny_llama_dir
from support.waiting import eventually

pytestmark = [pytest.mark.model_s, pytest.mark.timeout(600)]


def assert_serves(up: Up, reference: Reference) -> None:
    tasks = TASKS[:AT_ONCE]
    assert ask_at_once(up.url, [request(task, GREEDY) for task in tasks]) == reference.answers(GREEDY)[:AT_ONCE]
    assert up.metrics()["outrider_draft_asked_total"] == 0


def test_a_draft_with_another_tokenizer_is_refused_aloud_and_the_target_serves(
    reference: Reference, tmp_path: Path
) -> None:
    other = tiny_llama_dir(tmp_path / "other", context_tokens=CONTEXT_TOKENS)
    with running(tmp_path / "up", speculative_model(draft=f"file://{other}")) as up:
        state = up.draft_state()
        assert state["state"] == "Incompatible"
        assert state["model"] == "other"
        assert "another tokenizer" in state["reason"]
        assert "spec.draft.model.uri" in state["reason"]
        up.sees("draft", "Incompatible", state["reason"])
        # On a busy machine the target has said before that nobody answers yet.
        told = [line for line in up.log("target") if line["event"] == "draft"]
        [line] = [line for line in told if line["state"] != "Connecting"]
        assert (line["level"], line["state"], line["reason"]) == ("warning", "Incompatible", state["reason"])
        assert_serves(up, reference)


def test_a_draft_whose_model_is_not_there_is_told_and_the_target_serves(reference: Reference, tmp_path: Path) -> None:
    up = Up(tmp_path / "up", speculative_model(draft=f"file://{tmp_path}/nowhere")).start()
    try:
        line = up.sees("draft: failed", f"{tmp_path}/nowhere", "the target serves without it")
        assert "spec.draft.model" in line
        eventually("a target that is ready", up.is_serving)
        assert_serves(up, reference)
    except BaseException:
        up.kill()
        raise
    up.stop()
