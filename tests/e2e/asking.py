"""How the tests ask: with the official client, one request at a time or six at once, and compare whole answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from e2e.resources import NAME
from e2e.tasks import Task
from openai import AsyncOpenAI, AsyncStream, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

AT_ONCE = 6
ANSWER_TOKENS = 48
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Way:
    """How tokens are chosen; with a temperature each task brings its seed."""

    name: str
    temperature: float
    top_p: float

    def parameters(self, task: Task) -> dict[str, Any]:
        if self.temperature == 0:
            return {"temperature": 0}
        return {"temperature": self.temperature, "top_p": self.top_p, "seed": task.seed}


GREEDY = Way("greedy", 0, 1)
SAMPLED = Way("sampled", 0.8, 0.95)


@dataclass(frozen=True)
class Answer:
    """What a client can see of an answer."""

    text: str
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int


def request(task: Task, way: Way, **changes: Any) -> dict[str, Any]:
    """The arguments of `chat.completions.create`."""
    messages = [{"role": "user", "content": task.prompt}]
    return {"model": NAME, "messages": messages, "max_tokens": ANSWER_TOKENS, **way.parameters(task), **changes}


def client(url: str) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=TIMEOUT_S)


def async_client(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=TIMEOUT_S)


def ask_one_at_a_time(url: str, requests: Sequence[dict[str, Any]]) -> list[Answer]:
    """Whole answers, not streamed."""
    with client(url) as openai:
        return [_whole(openai.chat.completions.create(**asked)) for asked in requests]


def ask_streamed(openai: OpenAI, asked: dict[str, Any]) -> Answer:
    """One answer, streamed."""
    text, reason, usage = "", None, None
    streamed: dict[str, Any] = {**asked, "stream": True, "stream_options": {"include_usage": True}}
    for chunk in openai.chat.completions.create(**streamed):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
        usage = chunk.usage or usage
    assert usage is not None, f"the stream broke off after {text!r}"
    return Answer(text, reason, usage.prompt_tokens, usage.completion_tokens)


def ask_at_once(
    url: str, requests: Sequence[dict[str, Any]], on_chunk: Callable[[ChatCompletionChunk], None] = lambda _: None
) -> list[Answer]:
    """Streamed answers, six requests in flight as long as there are as many. `on_chunk` hears every stream."""
    return asyncio.run(_ask_all(url, requests, on_chunk))


async def _ask_all(
    url: str, requests: Sequence[dict[str, Any]], on_chunk: Callable[[ChatCompletionChunk], None]
) -> list[Answer]:
    places = asyncio.Semaphore(AT_ONCE)
    async with async_client(url) as openai:

        async def ask(asked: dict[str, Any]) -> Answer:
            async with places:
                streamed: dict[str, Any] = {**asked, "stream": True, "stream_options": {"include_usage": True}}
                return await _streamed(await openai.chat.completions.create(**streamed), on_chunk)

        return await asyncio.gather(*(ask(asked) for asked in requests))


def _whole(completion: ChatCompletion) -> Answer:
    [choice] = completion.choices
    assert completion.usage is not None
    return Answer(
        choice.message.content or "",
        choice.finish_reason,
        completion.usage.prompt_tokens,
        completion.usage.completion_tokens,
    )


async def _streamed(
    stream: AsyncStream[ChatCompletionChunk], on_chunk: Callable[[ChatCompletionChunk], None]
) -> Answer:
    text, reason, usage = "", None, None
    async for chunk in stream:
        on_chunk(chunk)
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
        usage = chunk.usage or usage
    assert usage is not None
    return Answer(text, reason, usage.prompt_tokens, usage.completion_tokens)
