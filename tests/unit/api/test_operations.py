"""The routes that operators and their tools read, request ids, and the log."""

from __future__ import annotations

from dataclasses import replace

import httpx
import openai
import pytest
from outrider_serving.engine.request import QueueFull
from structlog.testing import capture_logs
from unit.api.log_lines import line_of
from unit.api.scripted import CONTEXT_TOKENS, MODEL, Script, Served

HELLO = {"model": MODEL, "messages": [{"role": "user", "content": "PRIVATE"}]}


def test_the_served_model_is_listed(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data

    assert (model.id, model.object, model.owned_by) == (MODEL, "model", "outrider")
    assert model.to_dict()["max_model_len"] == CONTEXT_TOKENS


def test_a_model_can_be_asked_for_by_its_name(client: openai.OpenAI) -> None:
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError, match=MODEL):
        client.models.retrieve("org/other")


def test_health_tells_why_the_draft_is_not_used(served: Served, http: httpx.Client) -> None:
    response = http.get("/health")

    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "model": MODEL,
        "speculation": {
            "mode": "Auto",
            "placement": "Shared",
            "draft": {"state": "Incompatible", "model": "org/draft", "reason": "other tokenizer"},
            "drafts": [],
            "allowed": True,
        },
    }
    served.report = replace(served.report, status="failed")
    assert http.get("/health").status_code == 503


def test_a_model_that_cannot_answer_says_so_to_each_request(served: Served, http: httpx.Client) -> None:
    served.accepts = lambda: False
    refused = http.post("/v1/chat/completions", json=HELLO)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "not_ready"
    assert refused.headers["retry-after"] == "1"
    assert served.generator.requests == []


def test_one_that_is_not_to_be_asked_any_more_says_so_and_answers_who_asks(served: Served, http: httpx.Client) -> None:
    assert http.get("/ready").json() == {"ready": True}
    served.ready = lambda: False
    not_ready = http.get("/ready")
    assert (not_ready.status_code, not_ready.json()) == (503, {"ready": False})
    assert http.post("/v1/chat/completions", json=HELLO).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_beyond_the_queue_is_told_to_come_again(served: Served, http: httpx.Client, stream: bool) -> None:
    served.generator.script = lambda _: Script(error=QueueFull("3 requests run or wait already", 7))
    refused = http.post("/v1/chat/completions", json=HELLO | {"stream": stream})
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "7"
    assert refused.json()["error"]["code"] == "queue_full"


def test_the_official_client_tries_again_until_the_model_is_ready(served: Served) -> None:
    answers = iter([False, True])
    served.accepts = lambda: next(answers)

    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="sk-not-a-key", max_retries=1) as client:
        client.completions.create(model=MODEL, prompt="x")

    assert len(served.generator.requests) == 1


def test_metrics_are_those_of_the_registry(http: httpx.Client) -> None:
    plain = http.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    assert f'outrider_decode_steps_total{{model_name="{MODEL}"}} 3.0' in plain.text

    open_metrics = http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.text.endswith("# EOF\n")


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/nowhere"])
def test_a_request_id_comes_back_in_every_answer(http: httpx.Client, path: str) -> None:
    assert http.get(path, headers={"x-request-id": "job-7.a:b_c"}).headers["x-request-id"] == "job-7.a:b_c"


@pytest.mark.parametrize("sent", ["", "has space", "a" * 129, "-x", 'quote"', "x;y"])
def test_a_request_id_that_could_spoil_a_log_is_replaced(http: httpx.Client, sent: str) -> None:
    first, second = (http.get("/health", headers={"x-request-id": sent}).headers["x-request-id"] for _ in "12")

    assert sent not in (first, second)
    assert first != second
    assert len(first) == 32


def test_the_same_request_id_twice_is_two_requests_to_the_engine(served: Served, http: httpx.Client) -> None:
    for _ in "12":
        http.post("/v1/chat/completions", json=HELLO, headers={"x-request-id": "same"})

    assert len({request.id for request in served.generator.requests}) == 2


def test_a_request_is_one_line_that_names_ids_and_counts_but_no_text(http: httpx.Client) -> None:
    with capture_logs() as lines:
        response = http.post(
            "/v1/chat/completions", json=HELLO, headers={"x-request-id": "r-1", "authorization": "Bearer KEY"}
        )
        line = line_of(lines, response)

    answer = response.json()
    assert (line["event"], line["request_id"], line["answer_id"]) == ("http_request", "r-1", answer["id"])
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/chat/completions", 200)
    assert line["prompt_tokens"] == answer["usage"]["prompt_tokens"]
    assert line["completion_tokens"] == answer["usage"]["completion_tokens"]
    assert line["log_level"] == "info"
    assert not any(word in str(line) for word in ("PRIVATE", "KEY", "Grü"))


def test_a_failure_is_logged_by_place_and_kind_without_what_it_says(served: Served, http: httpx.Client) -> None:
    served.generator.script = lambda _: Script(error=RuntimeError("PRIVATE"))

    with capture_logs() as lines:
        line = line_of(lines, http.post("/v1/chat/completions", json=HELLO))

    assert (line["log_level"], line["status"], line["error"]) == ("error", 500, "RuntimeError")
    assert any(place.startswith("scripted.py:") for place in line["where"])
    assert "PRIVATE" not in str(line)


def test_a_long_path_is_logged_shortened(http: httpx.Client) -> None:
    with capture_logs() as lines:
        answer = http.get(f"/v1/models/{'x' * 5000}")
        line = line_of(lines, answer)

    assert answer.status_code == 404
    assert line["path"] == f"/v1/models/{'x' * 5000}"[:200]


def test_a_refusal_is_logged_with_its_code(http: httpx.Client) -> None:
    with capture_logs() as lines:
        line = line_of(lines, http.post("/v1/chat/completions", json=HELLO | {"model": "other"}))

    assert (line["status"], line["refused"], line["log_level"]) == (404, "model_not_found", "info")


def test_an_unknown_path_is_not_written_down(http: httpx.Client) -> None:
    with capture_logs() as lines:
        line = line_of(lines, http.get("/PRIVATE?key=KEY"))

    assert line["status"] == 404
    assert not any(word in str(line) for word in ("PRIVATE", "KEY"))
