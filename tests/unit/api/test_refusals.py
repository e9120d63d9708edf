"""Every malformed request gets one line that names the field, and never reaches the engine."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from outrider_serving.api import fields
from outrider_serving.api.chat import ChatDialect
from outrider_serving.api.errors import ApiError
from outrider_serving.api.schema import MAX_MESSAGES, ChatBody
from pydantic import ValidationError
from unit.api.scripted import CONTEXT_TOKENS, MAX_OPEN_REQUESTS, MODEL, Served, face, serving, tiny_tokenizer

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
JSON_TYPE = {"content-type": "application/json"}
MESSAGES = [{"role": "user", "content": "Hello"}]


def error_of(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    assert "Traceback" not in response.text
    return error


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 2.1),
        ("temperature", -0.1),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_p", 0),
        ("top_p", 1.01),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", 1.5),
        ("max_tokens", "5"),
        ("max_completion_tokens", 0),
        ("seed", 2**63),
        ("seed", "1"),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", [1]),
        ("stop", {"a": 1}),
        ("stream", "yes"),
        ("stream_options", {"include_usage": True}),  # without stream
        ("ignore_eos", 1),
        ("n", 0),
        ("n", 129),
        ("n", True),
        ("logprobs", 2),
        ("top_logprobs", 3),  # without logprobs
        ("top_logprobs", 21),
        ("presence_penalty", 2.5),
        ("frequency_penalty", -3),
        ("repetition_penalty", 0),
        ("repetition_penalty", 1e-40),
        ("logit_bias", {"5": 101}),
        ("logit_bias", {"5": True}),
        ("logit_bias", {"five": 1}),
        ("logit_bias", {"999": 1}),
        ("logit_bias", [5]),
        ("min_p", 1.5),
        ("min_tokens", -1),
        ("min_tokens", 1000),  # more than can come
        ("stop_token_ids", [999]),
        ("stop_token_ids", ["a"]),
        ("stop_token_ids", 5),
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("response_format", {"type": "json_object"}),
        ("top_k", -2),
        ("messages", []),
        ("messages", "Hello"),
        ("messages", None),
        ("model", None),
        ("model", 3),
    ],
)
def test_a_wrong_value_in_chat_names_its_field(http: httpx.Client, served: Served, field: str, value: object) -> None:
    response = http.post(CHAT, json={"model": MODEL, "messages": MESSAGES, field: value})

    error = error_of(response)
    assert response.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"] == field
    assert field in error["message"]
    assert served.generator.requests == []
    assert served.rejected == 1


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "wizard", "content": "a"}, "messages[0].role"),
        ({"content": "a"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": None}, "messages[0].content"),
        ({"role": "user", "content": 5}, "messages[0].content"),
        ({"role": "user", "content": ["a"]}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            "messages[0].content",
        ),
        ({"role": "user", "contnet": "a"}, "messages[0].contnet"),
        ({"role": "assistant", "content": "a", "tool_calls": [{"id": "1"}]}, "messages[0].tool_calls"),
        ("Hello", "messages[0]"),
    ],
)
def test_a_wrong_message_names_its_place(http: httpx.Client, message: object, param: str) -> None:
    response = http.post(CHAT, json={"model": MODEL, "messages": [message]})

    assert response.status_code == 400
    assert error_of(response)["param"] == param


@pytest.mark.parametrize("message", [{}, 1, {"role": "wizard"}])
def test_of_any_number_of_wrong_messages_one_is_looked_at(message: object) -> None:
    with pytest.raises(ValidationError) as refusal:
        ChatBody.model_validate({"model": MODEL, "messages": [*MESSAGES, *[message] * 1000]})

    assert {error["loc"][:2] for error in refusal.value.errors()} == {("messages", 1)}


def test_a_chat_of_more_messages_than_are_read_is_refused_by_their_number() -> None:
    body = {"model": MODEL, "messages": MESSAGES * MAX_MESSAGES}
    assert len(ChatDialect().parse(body).messages) == MAX_MESSAGES

    with pytest.raises(ApiError) as refusal:
        ChatDialect().parse(body | {"messages": [*MESSAGES * MAX_MESSAGES, {}]})

    assert (refusal.value.status, refusal.value.param) == (400, "messages")
    assert refusal.value.message == f"messages: there are {MAX_MESSAGES + 1} messages; give at most {MAX_MESSAGES}"


def test_an_image_is_refused_by_its_name(http: httpx.Client) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "x"}}]
    response = http.post(CHAT, json={"model": MODEL, "messages": [{"role": "user", "content": parts}]})

    assert "part 1 is of type image_url" in error_of(response)["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", None),
        ("prompt", []),
        ("prompt", ""),
        ("prompt", 5),
        ("prompt", ["a", 5]),
        ("prompt", [[1], []]),
        ("prompt", [True]),
        ("prompt", [258]),
        ("prompt", [-1]),
        ("prompt", ["a"] * 257),
        ("echo", True),
        ("suffix", "end"),
        ("best_of", 2),
        ("logprobs", True),
        ("logprobs", 6),
    ],
)
def test_a_wrong_value_in_completions_names_its_field(
    http: httpx.Client, served: Served, field: str, value: object
) -> None:
    response = http.post(COMPLETIONS, json={"model": MODEL, "prompt": "a", field: value})

    assert response.status_code == 400
    assert error_of(response)["param"] == field
    assert served.generator.requests == []


@pytest.mark.parametrize("field", ["messages", "model"])
def test_a_missing_field_is_named(http: httpx.Client, field: str) -> None:
    body = {"model": MODEL, "messages": MESSAGES}
    del body[field]
    response = http.post(CHAT, json=body)

    assert response.status_code == 400
    assert error_of(response)["message"] == f"{field} is missing; it is required"


@pytest.mark.parametrize(
    ("path", "misspelt", "meant"),
    [
        (CHAT, "temprature", "temperature"),
        (CHAT, "max_token", "max_tokens"),
        (COMPLETIONS, "promt", "prompt"),
    ],
)
def test_a_misspelt_field_gets_a_suggestion(http: httpx.Client, path: str, misspelt: str, meant: str) -> None:
    response = http.post(path, json={"model": MODEL, misspelt: 1})

    assert response.status_code == 400
    error = error_of(response)
    assert (error["param"], error["code"]) == (misspelt, "unknown_field")
    assert f"did you mean `{meant}`?" in error["message"]


def test_the_two_names_of_the_limit_must_agree(http: httpx.Client) -> None:
    body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 5, "max_completion_tokens": 6}
    response = http.post(CHAT, json=body)

    assert response.status_code == 400
    assert error_of(response)["param"] == "max_tokens"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'"text"',
        b"[]",
        b"null",
        b'{"model": NaN}',
        b"[" * 100_000,
        b'{"model": "\\ud800"}',
        b'{"seed": ' + b"9" * 5000 + b"}",
    ],
)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_body_that_is_no_json_object_is_refused(http: httpx.Client, path: str, raw: bytes) -> None:
    response = http.post(path, content=raw, headers=JSON_TYPE)

    assert response.status_code == 400
    assert error_of(response)["code"] == "invalid_json"


def test_another_content_type_is_refused_with_the_header_to_send(http: httpx.Client) -> None:
    response = http.post(CHAT, content=b"{}", headers={"content-type": "text/plain"})

    assert response.status_code == 415
    assert "content-type: application/json" in error_of(response)["message"]


@pytest.mark.parametrize("size_bytes", [100_001, 380_000])
def test_a_body_that_is_too_large_is_refused_by_its_limit(http: httpx.Client, size_bytes: int) -> None:
    response = http.post(CHAT, content=b" " * size_bytes, headers=JSON_TYPE)

    assert response.status_code == 413
    assert "100000 bytes" in error_of(response)["message"]
    assert http.get("/ready").status_code == 200


@pytest.mark.parametrize(
    ("asked", "param"),
    [({"n": 101, "prompt": ["a", "b"]}, "n"), ({"prompt": ["a"] * 201}, "prompt")],
)
def test_more_answers_at_once_than_ever_have_room_are_not_told_to_try_again(
    served: Served, http: httpx.Client, asked: dict[str, Any], param: str
) -> None:
    response = http.post(COMPLETIONS, json={"model": MODEL, **asked})

    assert response.status_code == 400
    error = error_of(response)
    assert error["param"] == param
    assert str(MAX_OPEN_REQUESTS) in error["message"]
    assert not served.generator.requests


@pytest.mark.parametrize(
    ("path", "asked", "param"),
    [
        (COMPLETIONS, {"prompt": [1, 257]}, "prompt"),
        (COMPLETIONS, {"prompt": "a<|im_end|>"}, "prompt"),
        (COMPLETIONS, {"prompt": "a", "logit_bias": {"257": 1}}, "logit_bias"),
        (COMPLETIONS, {"prompt": "a", "stop_token_ids": [257]}, "stop_token_ids"),
        (CHAT, {"messages": MESSAGES}, "messages"),  # the template has it
    ],
)
def test_a_token_that_was_added_to_the_tokenizer_alone_never_reaches_the_model(
    path: str, asked: dict[str, Any], param: str
) -> None:
    tokenizer = tiny_tokenizer()
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == 257
    with serving(face(tokenizer, rows_more=-1)) as served, httpx.Client(base_url=served.url, timeout=30) as http:
        response = http.post(path, json={"model": MODEL, **asked})
        other = http.post(COMPLETIONS, json={"model": MODEL, "prompt": [1, 256]})

    assert response.status_code == 400
    error = error_of(response)
    assert error["param"] == param
    assert "no token 257; ids go up to 256" in error["message"]
    assert other.status_code == 200


def test_another_model_is_not_found_and_the_served_one_is_named(served: Served, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=MODEL) as refusal:
        client.completions.create(model="gpt-x", prompt="a")

    assert (refusal.value.code, refusal.value.param) == ("model_not_found", "model")
    assert served.rejected == 1


def test_too_long_a_chat_names_both_numbers(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x" * 500}])

    assert (refusal.value.code, refusal.value.param) == ("context_length_exceeded", "messages")
    prompt_tokens = 500 + len("user\n\nassistant\n") + 3
    assert f"{prompt_tokens} tokens" in refusal.value.message
    assert str(CONTEXT_TOKENS) in refusal.value.message


def test_a_prompt_that_fills_the_context_leaves_no_room(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.completions.create(model=MODEL, prompt="x" * CONTEXT_TOKENS)

    assert (refusal.value.code, refusal.value.param) == ("context_length_exceeded", "prompt")


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_limit_that_does_not_fit_names_itself(http: httpx.Client, field: str) -> None:
    response = http.post(CHAT, json={"model": MODEL, "messages": MESSAGES, field: CONTEXT_TOKENS})

    assert response.status_code == 400
    error = error_of(response)
    assert (error["code"], error["param"]) == ("context_length_exceeded", field)
    assert str(CONTEXT_TOKENS) in error["message"]


def test_a_limit_that_just_fits_is_served(client: openai.OpenAI) -> None:
    client.completions.create(model=MODEL, prompt="x" * (CONTEXT_TOKENS - 9), max_tokens=9)

    with pytest.raises(openai.BadRequestError):
        client.completions.create(model=MODEL, prompt="x" * (CONTEXT_TOKENS - 9), max_tokens=10)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_path_that_takes_post_says_so_to_get(http: httpx.Client, path: str) -> None:
    response = http.get(path)

    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert "POST" in error_of(response)["message"]


def test_an_unknown_path_is_a_json_404(http: httpx.Client) -> None:
    response = http.get("/v2/chat")

    assert response.status_code == 404
    assert "/v1/chat/completions" in error_of(response)["message"]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_slash_too_many_leads_nowhere_else(http: httpx.Client, path: str) -> None:
    response = http.post(f"{path}/", json={"model": MODEL, "messages": MESSAGES}, headers={"host": "api.example.com"})

    assert response.status_code == 404
    assert "location" not in response.headers
    assert CHAT in error_of(response)["message"]


def test_a_value_that_is_refused_is_not_quoted(http: httpx.Client) -> None:
    response = http.post(CHAT, json={"model": MODEL, "messages": [{"role": "user", "content": {"s": "SECRET"}}]})

    assert response.status_code == 400
    assert "SECRET" not in response.text


def test_every_field_of_the_official_client_is_known() -> None:
    from openai.types import completion_create_params
    from openai.types.chat import completion_create_params as chat_create_params

    chat = chat_create_params.CompletionCreateParamsStreaming.__annotations__
    completions = completion_create_params.CompletionCreateParamsStreaming.__annotations__
    assert {"messages", "stream"} <= set(chat) <= fields.CHAT.known
    assert {"prompt", "stream"} <= set(completions) <= fields.COMPLETIONS.known


def test_no_field_has_two_rules() -> None:
    for rules in (fields.CHAT, fields.COMPLETIONS, fields.MESSAGE, fields.STREAM_OPTIONS):
        counted = len(rules.served) + len(rules.neutral) + len(rules.ignored)
        assert counted == len(rules.known)


def test_neutral_values_are_all_accepted(http: httpx.Client) -> None:
    for name, neutral_values in fields.CHAT.neutral.items():
        for value in neutral_values:
            body = {"model": MODEL, "messages": MESSAGES, name: value}
            response = http.post(CHAT, content=json.dumps(body), headers=JSON_TYPE)
            assert response.status_code == 200, (name, value, response.text)
