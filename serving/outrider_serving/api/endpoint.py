"""The way of one generation request: body → prompt tokens → engine → answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from outrider_serving.api.body import parse_json, read_body
from outrider_serving.api.dialect import Answer, BodyT, Dialect, sampling_params
from outrider_serving.api.errors import ApiError, as_api_error, model_not_found, not_ready
from outrider_serving.api.generation import generate, while_connected
from outrider_serving.api.logprobs import TokenTexts
from outrider_serving.api.prompt import PromptEncoder, tokens_allowed
from outrider_serving.api.request_log import RequestRecord, record_of
from outrider_serving.api.stream import EventStream, Sink, WholeAnswer
from outrider_serving.engine.request import Delta, Generator, Request, RequestError


@dataclass(frozen=True)
class Face:
    """What every generation route stands on. `on_rejected` is called for each request that is refused before
    the engine hears of it."""

    generator: Generator
    encoder: PromptEncoder
    texts: TokenTexts
    accepts: Callable[[], bool]
    on_rejected: Callable[[], None]
    system_fingerprint: str
    max_body_bytes: int


class GenerationEndpoint(Generic[BodyT]):
    """An ASGI application, not a function of a request: it sends while it watches the connection."""

    def __init__(self, face: Face, dialect: Dialect[BodyT]) -> None:
        self._face = face
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = record_of(scope)
        try:
            body = await self._body(scope, receive)
            requests = await while_connected(receive, self._requests(body, record))
        except ApiError:
            self._face.on_rejected()
            raise
        answer = self._answer(record)
        sink: Sink
        if body.stream:
            sink = EventStream(self._dialect, answer, self._face.texts, send, include_usage=body.wants_usage_chunk)
        else:
            sink = WholeAnswer(self._dialect, answer, self._face.texts, scope, receive, send)
        # A prompt counts once, however many choices share it.
        answer.usage.prompt_tokens = sum(len(request.prompt_tokens) for request in requests[:: body.choices])
        await self._serve(requests, answer, sink, record, receive)

    async def _body(self, scope: Scope, receive: Receive) -> BodyT:
        raw = await read_body(Headers(scope=scope), receive, self._face.max_body_bytes)
        if not self._face.accepts():
            raise not_ready()
        body = self._dialect.parse(parse_json(raw))
        if body.model != self._face.generator.model_name:
            raise model_not_found(body.model, self._face.generator.model_name)
        return body

    async def _requests(self, body: BodyT, record: RequestRecord) -> list[Request]:
        """One for each choice of each prompt. Their ids are unique, whatever x-request-id a client sends twice."""
        self._face.encoder.check_token_ids((token for token, _ in body.logit_bias), "logit_bias")
        self._face.encoder.check_token_ids(body.stop_token_ids, "stop_token_ids")
        prompts = await self._dialect.prompts(body, self._face.encoder)
        asked, limit_param = self._dialect.limit(body)
        limits = [
            tokens_allowed(
                prompt_tokens=len(prompt),
                context_tokens=self._face.generator.max_model_len_tokens,
                asked=asked,
                default=self._dialect.default_max_tokens,
                param=self._dialect.prompt_param,
                limit_param=limit_param,
            )
            for prompt in prompts
        ]
        answer_id = self._answer_id(record)
        answers, room = len(prompts) * body.choices, self._face.generator.max_open_requests
        if answers > room:
            raise ApiError(
                f"{answers} answers are asked for at once, and the server has room for {room}; ask for fewer",
                param="n" if body.choices > 1 else self._dialect.prompt_param,
            )
        choices = [
            (prompt, sampling)
            for prompt, limit in zip(prompts, limits, strict=True)
            for sampling in sampling_params(body, limit, self._dialect.top_logprobs(body))
        ]
        ids = [answer_id] if len(choices) == 1 else [f"{answer_id}-{index}" for index in range(len(choices))]
        return [
            Request(
                id=id_,
                call=answer_id,
                prompt_tokens=prompt,
                sampling=sampling,
                continues_prompt=self._dialect.continues_prompt,
            )
            for id_, (prompt, sampling) in zip(ids, choices, strict=True)
        ]

    def _named(self, error: Exception) -> Exception:
        """What the engine refuses is the prompt, which each dialect has a name of its own for."""
        if isinstance(error, RequestError):
            return ApiError(str(error), param=self._dialect.prompt_param, code=error.code)
        return error

    def _answer(self, record: RequestRecord) -> Answer:
        return Answer(
            id=self._answer_id(record),
            created_s=int(time.time()),
            model=self._face.generator.model_name,
            system_fingerprint=self._face.system_fingerprint,
        )

    def _answer_id(self, record: RequestRecord) -> str:
        return f"{self._dialect.id_prefix}{record.unique}"

    async def _serve(
        self, requests: list[Request], answer: Answer, sink: Sink, record: RequestRecord, receive: Receive
    ) -> None:
        usage = answer.usage
        record.note(answer_id=answer.id, choices=len(requests), prompt_tokens=usage.prompt_tokens)

        async def put(index: int, delta: Delta) -> None:
            usage.completion_tokens += len(delta.tokens)
            await sink.put(index, delta)

        try:
            await while_connected(receive, generate(self._face.generator, requests, put))
        except ClientDisconnect:
            raise
        except Exception as raised:
            error = self._named(raised)
            if not sink.started:
                raise error from None
            record.failed(error)
            await sink.fail(as_api_error(error, record.request_id))
        else:
            await sink.finish()
        finally:
            record.note(completion_tokens=usage.completion_tokens)
