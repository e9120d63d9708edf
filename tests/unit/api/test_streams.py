"""What goes over the wire while an answer is made, and what happens when it cannot be finished."""

from __future__ import annotations

import json
import socket

import httpx
import openai
import pytest
from outrider_serving.engine.request import Delta, EngineStopped, RequestError
from structlog.testing import capture_logs
from unit.api.log_lines import line_of
from unit.api.scripted import MODEL, WAIT_S, Script, Served

HELLO = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
SECRET = "the prompt's own words"


def events_of(response: httpx.Response) -> list[str]:
    blocks = response.text.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") for block in blocks)
    return [block.removeprefix("data: ") for block in blocks]


def test_a_stream_is_events_and_ends_with_done(http: httpx.Client) -> None:
    response = http.post("/v1/chat/completions", json=HELLO | {"stream": True})

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    *chunks, done = events_of(response)
    assert done == "[DONE]"
    assert all(json.loads(chunk)["object"] == "chat.completion.chunk" for chunk in chunks)


def test_a_delta_without_text_is_not_sent(served: Served, http: httpx.Client) -> None:
    served.generator.script = lambda _: Script(
        [Delta("a", (1,)), Delta("", (2,)), Delta("b", (3, 4)), Delta("", (), "stop")]
    )
    body = {"model": MODEL, "prompt": "x", "stream": True, "stream_options": {"include_usage": True}}

    *chunks, usage, _ = events_of(http.post("/v1/completions", json=body))

    assert all(json.loads(chunk)["usage"] is None for chunk in chunks)
    assert [json.loads(chunk)["choices"][0]["text"] for chunk in chunks] == ["a", "b", ""]
    assert json.loads(usage)["usage"]["completion_tokens"] == 4


def test_line_separators_in_the_text_do_not_break_a_readers_lines(served: Served, http: httpx.Client) -> None:
    text = "one\u2028two\u0085three\r\nfour\x0bfive\x00six 😀"
    served.generator.script = lambda _: Script([Delta(text, (1,), "stop")])

    with http.stream("POST", "/v1/completions", json={"model": MODEL, "prompt": "x", "stream": True}) as response:
        lines = [line for line in response.iter_lines() if line]

    assert json.loads(lines[0].removeprefix("data: "))["choices"][0]["text"] == text
    assert lines[1:] == ["data: [DONE]"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_text_has_a_status(served: Served, http: httpx.Client, stream: bool) -> None:
    served.generator.script = lambda _: Script(error=RuntimeError(SECRET))

    response = http.post("/v1/chat/completions", json=HELLO | {"stream": stream})

    assert response.status_code == 500
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert response.headers["x-request-id"] in error["message"]
    assert SECRET not in response.text
    assert "Traceback" not in response.text


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_engine_refuses_is_the_clients_error(served: Served, http: httpx.Client, stream: bool) -> None:
    served.generator.script = lambda _: Script(error=RequestError("no KV for it; shorten it", "kv"))

    response = http.post("/v1/chat/completions", json=HELLO | {"stream": stream})

    assert response.status_code == 400
    assert response.json()["error"] == {
        "message": "no KV for it; shorten it",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "kv",
    }
    assert served.rejected == 0  # the engine counts what it refuses itself


def test_a_failure_in_mid_stream_is_an_event(served: Served, http: httpx.Client) -> None:
    served.generator.script = lambda _: Script([Delta("half an ", (1,))], error=RuntimeError(SECRET))

    response = http.post("/v1/chat/completions", json=HELLO | {"stream": True})

    *_, said, failure = events_of(response)
    assert json.loads(said)["choices"][0]["delta"] == {"content": "half an "}
    assert json.loads(failure)["error"]["code"] == "internal_error"
    assert SECRET not in response.text


@pytest.mark.parametrize("stream", [False, True])
def test_who_an_engine_that_stops_leaves_is_told_to_ask_again(served: Served, http: httpx.Client, stream: bool) -> None:
    served.generator.script = lambda _: Script(error=EngineStopped("the engine stopped"))

    with capture_logs() as lines:
        response = http.post("/v1/chat/completions", json=HELLO | {"stream": stream})
        line = line_of(lines, response)

    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("service_unavailable", "engine_stopped")
    assert "send the request again" in error["message"]
    assert (line["status"], line["refused"], line["log_level"]) == (503, "engine_stopped", "info")


def test_an_engine_that_stops_in_mid_stream_says_so_in_an_event(served: Served, http: httpx.Client) -> None:
    served.generator.script = lambda _: Script([Delta("half an ", (1,))], error=EngineStopped("the engine stopped"))

    *_, failure = events_of(http.post("/v1/chat/completions", json=HELLO | {"stream": True}))

    assert json.loads(failure)["error"]["code"] == "engine_stopped"


def test_the_official_client_raises_a_failure_in_mid_stream(served: Served, client: openai.OpenAI) -> None:
    served.generator.script = lambda _: Script([Delta("half an ", (1,))], error=RuntimeError(SECRET))

    stream = client.completions.create(model=MODEL, prompt="x", stream=True)
    assert next(stream).choices[0].text == "half an "
    with pytest.raises(openai.APIError, match="the server failed"):
        next(stream)


def test_deltas_that_end_without_a_reason_are_a_failure(served: Served, http: httpx.Client) -> None:
    served.generator.script = lambda _: Script([Delta("half", (1,))])

    assert http.post("/v1/chat/completions", json=HELLO).status_code == 500


def test_an_iterator_is_closed_once_the_answer_is_complete(served: Served, http: httpx.Client) -> None:
    served.generator.script = lambda _: Script([Delta("all", (1,), "stop")], silent=True)

    assert http.post("/v1/chat/completions", json=HELLO).status_code == 200
    assert len(served.generator.closed) == 1


@pytest.mark.parametrize("said", [[], [Delta("half", (1,))]], ids=["before the first text", "after it"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("prompts", [["a"], ["a", "b"]], ids=["one prompt", "two prompts"])
def test_a_client_that_goes_away_closes_the_iterators(
    served: Served, said: list[Delta], stream: bool, prompts: list[str]
) -> None:
    served.generator.script = lambda _: Script(said, silent=True)
    body = json.dumps({"model": MODEL, "prompt": prompts, "stream": stream}).encode()
    head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    length = f"content-length: {len(body)}\r\n\r\n"

    with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as connection:
        connection.sendall((head + length).encode() + body)
        for _ in prompts:
            assert served.generator.silences.acquire(timeout=WAIT_S)
        assert served.generator.closed == []

    for _ in prompts:
        assert served.generator.closings.acquire(timeout=WAIT_S)
    assert sorted(served.generator.closed) == sorted(request.id for request in served.generator.requests)
    assert httpx.get(f"{served.url}/ready").status_code == 200


def test_a_client_that_stops_reading_in_mid_stream_closes_the_iterator(served: Served, client: openai.OpenAI) -> None:
    served.generator.script = lambda _: Script([Delta("first", (1,))], silent=True)

    stream = client.completions.create(model=MODEL, prompt="x", stream=True)
    assert next(stream).choices[0].text == "first"
    stream.close()

    assert served.generator.closings.acquire(timeout=WAIT_S)


def test_connections_are_kept_alive_between_answers(served: Served, http: httpx.Client) -> None:
    connections = {
        id(http.post("/v1/chat/completions", json=HELLO | {"stream": index % 2 == 1}).extensions["network_stream"])
        for index in range(4)
    }

    assert len(connections) == 1
    assert len(served.generator.requests) == 4
