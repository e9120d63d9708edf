"""The draft is killed, or hangs, in the middle of six streams: nobody who is served can tell from the answers."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from e2e.asking import AT_ONCE, GREEDY, SAMPLED, ask_at_once, request
from e2e.conftest import Reference
from e2e.running import Up
from e2e.tasks import TASKS
from openai.types.chat import ChatCompletionChunk
from support.waiting import eventually

pytestmark = [pytest.mark.model_s, pytest.mark.timeout(600)]


class Once:
    """Does something when every one of six streams has brought some text, and none has ended."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.done = False
        self._act = act
        self._begun: set[str] = set()
        self._ended = 0

    def __call__(self, chunk: ChatCompletionChunk) -> None:
        for choice in chunk.choices:
            if choice.delta.content:
                self._begun.add(chunk.id)
            self._ended += choice.finish_reason is not None
        if len(self._begun) == AT_ONCE and not self.done:
            assert self._ended == 0
            self.done = True
            self._act()


def assert_the_same_answers(up: Up, reference: Reference, act: Callable[[], object]) -> None:
    """Six streams, `act` in the middle of them: none fails, and the tokens are those of the target alone."""
    midway = Once(act)
    answers = ask_at_once(up.url, [request(task, SAMPLED) for task in TASKS[:AT_ONCE]], midway)
    assert midway.done
    assert answers == reference.answers(SAMPLED)[:AT_ONCE]


def assert_drafting_goes_on(up: Up, reference: Reference) -> None:
    eventually("a draft that is connected again", lambda: up.draft_state()["state"] == "Connected")
    before = up.metrics()
    answers = ask_at_once(up.url, [request(task, GREEDY) for task in TASKS[AT_ONCE:]])
    after = up.metrics()
    assert answers == reference.answers(GREEDY)[AT_ONCE:]
    for counter in ("outrider_draft_tree_hits_total", "outrider_spec_decode_num_accepted_tokens_total"):
        assert after[counter] > before[counter]


def test_a_draft_that_is_killed_is_missed_by_no_stream_and_comes_back(itself: Up, reference: Reference) -> None:
    killed = itself.role("draft")
    assert_the_same_answers(itself, reference, killed.kill)
    itself.sees("draft", "killed by SIGKILL", "starting it again")
    assert_drafting_goes_on(itself, reference)
    assert itself.role("draft").pid != killed.pid


def test_a_draft_that_hangs_is_missed_by_no_stream_and_drafts_again_when_it_wakes(
    itself: Up, reference: Reference
) -> None:
    hung = itself.role("draft")
    try:
        assert_the_same_answers(itself, reference, lambda: hung.send_signal(signal.SIGSTOP))
    finally:
        hung.send_signal(signal.SIGCONT)
    assert_drafting_goes_on(itself, reference)
    assert itself.role("draft").pid == hung.pid
