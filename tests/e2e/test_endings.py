"""An answer ends where it should, also inside what was accepted in one step: by a stop string, an end token, its
length, or because the client has left."""

from __future__ import annotations

import httpx
import pytest
from e2e.asking import ANSWER_TOKENS, GREEDY, SAMPLED, Answer, Way, ask_at_once, client, request
from e2e.conftest import Reference
from e2e.running import Up
from e2e.tasks import ORDERS, TASKS, Task
from support.waiting import eventually

pytestmark = [pytest.mark.model_s, pytest.mark.timeout(600)]

ENDS_EARLY = Task(
    "editing", f"Copy the orders below, one a line, and put the word DONE at the end of each:\n\n{ORDERS}", 1
)
ROOM_TOKENS = 80


@pytest.mark.parametrize("way", [GREEDY, SAMPLED], ids=lambda way: way.name)
def test_a_stop_string_cuts_the_answer_where_it_does_without_a_draft(
    itself: Up, reference: Reference, way: Way
) -> None:
    """Stop strings of one to eleven characters out of the answers themselves: most begin or end inside a token."""
    requests, expected = [], []
    for size, task, whole in list(zip(range(1, 13), TASKS, reference.answers(way), strict=True))[::2]:
        middle = len(whole.text) // 2
        stop = whole.text[middle : middle + size]
        requests.append(request(task, way, stop=[stop]))
        expected.append(whole.text[: whole.text.index(stop)])
    answers = ask_at_once(itself.url, requests)
    assert [answer.text for answer in answers] == expected
    assert {answer.finish_reason for answer in answers} == {"stop"}
    assert answers == ask_at_once(reference.off.url, requests)


def test_an_end_token_ends_the_answer_where_it_does_without_a_draft(itself: Up, off: Up) -> None:
    requests = [request(ENDS_EARLY, GREEDY, max_tokens=ROOM_TOKENS)]
    [answer] = ask_at_once(itself.url, requests)
    assert answer.finish_reason == "stop"
    assert answer.completion_tokens < ROOM_TOKENS
    assert [answer] == ask_at_once(off.url, requests)


def test_an_answer_has_as_many_tokens_as_it_may(itself: Up, reference: Reference) -> None:
    lengths = range(1, 9)
    requests = [request(TASKS[7], GREEDY, max_tokens=length) for length in lengths]
    answers = ask_at_once(itself.url, requests)
    assert [answer.completion_tokens for answer in answers] == list(lengths)
    assert {answer.finish_reason for answer in answers} == {"length"}
    whole = reference.answers(GREEDY)[7].text
    assert all(whole.startswith(answer.text) for answer in answers)


def test_a_client_that_leaves_frees_its_sequence_while_others_are_served(itself: Up, reference: Reference) -> None:
    endless = request(TASKS[0], GREEDY, max_tokens=900, extra_body={"ignore_eos": True})
    with client(itself.url) as face:
        leaving = face.chat.completions.create(**endless, stream=True)
        for _, _ in zip(range(4), leaving, strict=False):
            pass
        assert itself.metrics()["outrider_num_requests_running"] == 1
        leaving.close()
    assert served_beside(itself) == reference.answers(SAMPLED)[1]
    eventually("no request running", lambda: itself.metrics()["outrider_num_requests_running"] == 0)
    assert itself.metrics()["outrider_kv_cache_usage_perc"] == 0
    eventually("no sequence at the draft", lambda: draft_sequences(itself) == 0)


def served_beside(up: Up) -> Answer:
    [answer] = ask_at_once(up.url, [request(TASKS[1], SAMPLED)])
    assert answer.completion_tokens == ANSWER_TOKENS
    return answer


def draft_sequences(up: Up) -> int:
    [port] = [arg.partition("=")[2] for arg in up.role("draft").cmdline() if arg.startswith("--http-port=")]
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    [value] = [line.split()[-1] for line in text.splitlines() if line.startswith("outrider_draft_sequences{")]
    return int(float(value))
