"""POST /v1/completions: prompts in, one continuation for each out."""

from __future__ import annotations

from typing import ClassVar

from outrider_serving.api import body as bodies
from outrider_serving.api import fields
from outrider_serving.api.dialect import Json
from outrider_serving.api.prompt import PromptEncoder
from outrider_serving.api.schema import CompletionBody
from outrider_serving.engine.request import FinishReason


class CompletionDialect:
    id_prefix: ClassVar[str] = "cmpl-"
    prompt_param: ClassVar[str] = "prompt"
    default_max_tokens: ClassVar[int | None] = 16  # OpenAI's
    whole_object: ClassVar[str] = "text_completion"
    chunk_object: ClassVar[str] = "text_completion"

    def parse(self, raw: Json) -> CompletionBody:
        return bodies.validate(raw, CompletionBody, fields.COMPLETIONS)

    def limit(self, body: CompletionBody) -> tuple[int | None, str]:
        return body.max_tokens, "max_tokens"

    async def prompts(self, body: CompletionBody, encoder: PromptEncoder) -> list[tuple[int, ...]]:
        return [await encoder.prompt(prompt) for prompt in body.prompt]

    def whole_choice(self, index: int, text: str, finish_reason: FinishReason) -> Json:
        return self.chunk_choice(index, text, finish_reason)

    def opening_choice(self, index: int) -> Json | None:  # noqa: ARG002
        return None

    def chunk_choice(self, index: int, text: str, finish_reason: FinishReason | None) -> Json:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}
