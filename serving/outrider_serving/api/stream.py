"""Where an answer goes while it is made: into one JSON object, or out as server-sent events."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from outrider_serving.api.dialect import Answer, Dialect, Json, compact
from outrider_serving.api.errors import ApiError
from outrider_serving.api.logprobs import TokenTexts
from outrider_serving.engine.logprobs import TokenLogprob
from outrider_serving.engine.request import Delta, FinishReason

EVENT_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a proxy that buffers would hand the stream over in one piece
]


class Sink(Protocol):
    """Takes an answer's deltas. Deltas of different choices may come interleaved."""

    @property
    def started(self) -> bool:
        """Whether the client was sent anything yet: if so, an error can no longer have a status."""
        ...

    async def put(self, index: int, delta: Delta) -> None: ...

    async def finish(self) -> None: ...

    async def fail(self, error: ApiError) -> None:
        """Ends an answer that was started."""
        ...


class WholeAnswer:
    """Collects the choices and sends them at once."""

    def __init__(
        self, dialect: Dialect[Any], answer: Answer, texts: TokenTexts, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._dialect = dialect
        self._token_texts = texts
        self._answer = answer
        self._asgi = (scope, receive, send)
        self._texts: dict[int, list[str]] = {}
        self._logprobs: dict[int, list[TokenLogprob]] = {}
        self._finish_reasons: dict[int, FinishReason] = {}

    @property
    def started(self) -> bool:
        return False

    async def put(self, index: int, delta: Delta) -> None:
        self._texts.setdefault(index, []).append(delta.text)
        self._logprobs.setdefault(index, []).extend(delta.logprobs)
        if delta.finish_reason:
            self._finish_reasons[index] = delta.finish_reason

    async def finish(self) -> None:
        # 16,000 tokens with 20 alternatives each take seconds to word, in which every stream would stand still.
        response = await asyncio.to_thread(self._response) if any(self._logprobs.values()) else self._response()
        await response(*self._asgi)

    def _response(self) -> JSONResponse:
        choices = [
            self._dialect.whole_choice(index, "".join(self._texts[index]), reason, self._worded(index))
            for index, reason in sorted(self._finish_reasons.items())
        ]
        body = self._answer.head(self._dialect.whole_object)
        return JSONResponse(body | {"choices": choices, "usage": self._answer.usage.body()})

    def _worded(self, index: int) -> Json | None:
        entries = self._logprobs[index]
        return self._dialect.logprobs(entries, self._token_texts, 0) if entries else None

    async def fail(self, error: ApiError) -> None:
        await error.response()(*self._asgi)


class EventStream:
    """Sends each delta as it comes. The response starts with the first one, so that whatever fails before it
    still gets a status of its own; what fails later is sent as an event, and no [DONE] follows it."""

    def __init__(
        self, dialect: Dialect[Any], answer: Answer, texts: TokenTexts, send: Send, *, include_usage: bool
    ) -> None:
        self._dialect = dialect
        self._token_texts = texts
        self._said: dict[int, int] = {}
        self._answer = answer
        self._send = send
        self._include_usage = include_usage
        self._opened: set[int] = set()
        self._started = False
        # All that never changes from chunk to chunk is written once.
        self._before_choice = compact(answer.head(dialect.chunk_object))[:-1] + ',"choices":['
        self._after_choice = '],"usage":null}' if include_usage else "]}"

    @property
    def started(self) -> bool:
        return self._started

    async def put(self, index: int, delta: Delta) -> None:
        if index not in self._opened:
            self._opened.add(index)
            opening = self._dialect.opening_choice(index)
            if opening is not None:
                await self._choice(opening)
        if delta.text or delta.finish_reason or delta.logprobs:
            logprobs = self._worded(index, delta) if delta.logprobs else None
            await self._choice(self._dialect.chunk_choice(index, delta.text, delta.finish_reason, logprobs))

    def _worded(self, index: int, delta: Delta) -> Json:
        offset = self._said.get(index, 0)
        self._said[index] = offset + sum(len(self._token_texts[entry.token].text) for entry in delta.logprobs)
        return self._dialect.logprobs(delta.logprobs, self._token_texts, offset)

    async def finish(self) -> None:
        if self._include_usage:
            last = self._answer.head(self._dialect.chunk_object)
            await self._event(compact(last | {"choices": [], "usage": self._answer.usage.body()}))
        await self._event("[DONE]")
        await self._end()

    async def fail(self, error: ApiError) -> None:
        await self._event(compact(error.body()))
        await self._end()

    async def _choice(self, choice: Json) -> None:
        await self._event(f"{self._before_choice}{compact(choice)}{self._after_choice}")

    async def _event(self, data: str) -> None:
        if not self._started:
            self._started = True
            await self._send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM_HEADERS})
        event = f"data: {data}\n\n".encode("ascii")
        await self._send({"type": "http.response.body", "body": event, "more_body": True})

    async def _end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
