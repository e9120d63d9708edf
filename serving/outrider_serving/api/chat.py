"""POST /v1/chat/completions: messages in, one assistant message out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from outrider_serving.api import body as bodies
from outrider_serving.api import fields
from outrider_serving.api.dialect import Json
from outrider_serving.api.errors import ApiError
from outrider_serving.api.logprobs import TokenTexts, chat_logprobs
from outrider_serving.api.prompt import PromptEncoder
from outrider_serving.api.schema import MAX_MESSAGES, ChatBody
from outrider_serving.engine.logprobs import TokenLogprob
from outrider_serving.engine.request import FinishReason


class ChatDialect:
    id_prefix: ClassVar[str] = "chatcmpl-"
    prompt_param: ClassVar[str] = "messages"
    continues_prompt: ClassVar[bool] = False  # of a message the template makes the space before it
    default_max_tokens: ClassVar[int | None] = None
    whole_object: ClassVar[str] = "chat.completion"
    chunk_object: ClassVar[str] = "chat.completion.chunk"

    def parse(self, raw: Json) -> ChatBody:
        messages = raw.get("messages")
        if isinstance(messages, list):
            if len(messages) > MAX_MESSAGES:
                raise ApiError(
                    f"messages: there are {len(messages)} messages; give at most {MAX_MESSAGES}", param="messages"
                )
            for index, message in enumerate(messages):
                if isinstance(message, Mapping):
                    fields.MESSAGE.check(message, f"messages[{index}].")
        body = bodies.validate(raw, ChatBody, fields.CHAT)
        old, new = body.max_tokens, body.max_completion_tokens
        if old is not None and new is not None and old != new:
            raise ApiError(
                f"max_tokens is {old} and max_completion_tokens is {new}; give one of them",
                param="max_tokens",
            )
        if body.top_logprobs and not body.logprobs:
            raise ApiError("top_logprobs needs logprobs; set logprobs to true or leave it out", param="top_logprobs")
        return body

    def top_logprobs(self, body: ChatBody) -> int | None:
        return (body.top_logprobs or 0) if body.logprobs else None

    def logprobs(self, entries: Sequence[TokenLogprob], texts: TokenTexts, offset: int) -> Json:  # noqa: ARG002
        return chat_logprobs(entries, texts)

    def limit(self, body: ChatBody) -> tuple[int | None, str]:
        if body.max_completion_tokens is not None:
            return body.max_completion_tokens, "max_completion_tokens"
        return body.max_tokens, "max_tokens"

    async def prompts(self, body: ChatBody, encoder: PromptEncoder) -> list[tuple[int, ...]]:
        return [await encoder.chat(body.messages)]

    def whole_choice(self, index: int, text: str, finish_reason: FinishReason, logprobs: Json | None) -> Json:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish_reason}

    def opening_choice(self, index: int) -> Json | None:
        delta = {"role": "assistant", "content": ""}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def chunk_choice(self, index: int, text: str, finish_reason: FinishReason | None, logprobs: Json | None) -> Json:
        delta = {"content": text} if text else {}
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
