"""No body, however odd, makes the server fail: it is answered or refused."""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outrider_serving.api import fields
from unit.api.scripted import MODEL, Served, face, tiny_tokenizer

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
nearly = {
    "temperature": st.floats(0, 2),
    "top_p": st.floats(0, 1),
    "max_tokens": st.integers(0, 9),
    "seed": st.integers(-(2**64), 2**64),
    "stop": st.lists(st.text(max_size=3), max_size=5),
    "stream": st.booleans(),
    "n": st.integers(0, 3),
    "top_k": st.integers(-2, 9),
    "min_p": st.floats(0, 1),
    "presence_penalty": st.floats(-2.5, 2.5),
    "frequency_penalty": st.floats(-2, 2),
    "repetition_penalty": st.floats(0, 3),
    "logit_bias": st.dictionaries(st.integers(0, 300).map(str), st.floats(-101, 101), max_size=3),
    "min_tokens": st.integers(0, 9),
    "stop_token_ids": st.lists(st.integers(-1, 300), max_size=3),
    "logprobs": st.booleans() | st.integers(0, 6),
}
messages = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
            "content": st.text(max_size=9),
        }
    ),
    max_size=3,
)


def bodies(rules: fields.FieldRules, prompt: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Mostly well-formed, so that what is odd gets past the first check."""
    odd = st.dictionaries(st.sampled_from(sorted(rules.known)) | st.text(max_size=9), anything, max_size=2)
    usual = st.fixed_dictionaries({"model": st.just(MODEL), **prompt}, optional=nearly)
    return st.builds(lambda usual, odd: usual | odd, usual, odd)


@cache
def shared_face() -> Served:
    return face(tiny_tokenizer())


async def post(path: str, **body: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app=shared_face().app)
    async with httpx.AsyncClient(transport=transport, base_url="http://face") as http:
        return await http.post(path, headers={"content-type": "application/json"}, **body)


def assert_answered_or_refused(response: httpx.Response) -> None:
    assert response.status_code in {200, 400, 404}, response.text
    if response.status_code != 200:
        error = response.json()["error"]
        assert error["message"]
        assert error["type"] == "invalid_request_error"


@pytest.mark.long
@settings(deadline=None, max_examples=300)
@given(body=bodies(fields.CHAT, {"messages": messages | anything}))
async def test_any_chat_body_is_answered_or_refused(body: dict[str, Any]) -> None:
    assert_answered_or_refused(await post("/v1/chat/completions", json=body))


@settings(deadline=None, max_examples=300)
@given(body=bodies(fields.COMPLETIONS, {"prompt": st.text(max_size=9) | st.lists(st.integers(0, 300)) | anything}))
async def test_any_completion_body_is_answered_or_refused(body: dict[str, Any]) -> None:
    assert_answered_or_refused(await post("/v1/completions", json=body))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@settings(deadline=None, max_examples=100)
@given(raw=st.binary(max_size=60))
async def test_any_bytes_are_refused(path: str, raw: bytes) -> None:
    response = await post(path, content=raw)

    assert response.status_code == 400
    assert_answered_or_refused(response)
