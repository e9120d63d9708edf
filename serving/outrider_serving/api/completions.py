"""POST /v1/completions: prompts in, one continuation for each out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from outrider_serving.api import body as bodies
from outrider_serving.api import fields
from outrider_serving.api.dialect import Json
from outrider_serving.api.errors import ApiError
from outrider_serving.api.logprobs import TokenTexts, completion_logprobs
from outrider_serving.api.prompt import PromptEncoder
from outrider_serving.api.schema import MAX_PROMPTS, CompletionBody
from outrider_serving.engine.logprobs import TokenLogprob
from outrider_serving.engine.request import FinishReason


class CompletionDialect:
    id_prefix: ClassVar[str] = "cmpl-"
    prompt_param: ClassVar[str] = "prompt"
    continues_prompt: ClassVar[bool] = True
    default_max_tokens: ClassVar[int | None] = 16  # OpenAI's
    whole_object: ClassVar[str] = "text_completion"
    chunk_object: ClassVar[str] = "text_completion"

    def parse(self, raw: Json) -> CompletionBody:
        body = bodies.validate(raw, CompletionBody, fields.COMPLETIONS)
        if body.best_of is not None and body.best_of != body.choices:
            raise ApiError(f"best_of is {body.best_of}; leave it out, or give the value of n", param="best_of")
        if len(body.prompt) * body.choices > MAX_PROMPTS:
            raise ApiError(
                f"{len(body.prompt)} prompts with {body.choices} choices each are more than {MAX_PROMPTS} answers; "
                "lower n or send fewer prompts",
                param="n",
            )
        return body

    def top_logprobs(self, body: CompletionBody) -> int | None:
        return body.logprobs

    def logprobs(self, entries: Sequence[TokenLogprob], texts: TokenTexts, offset: int) -> Json:
        return completion_logprobs(entries, texts, offset)

    def limit(self, body: CompletionBody) -> tuple[int | None, str]:
        return body.max_tokens, "max_tokens"

    async def prompts(self, body: CompletionBody, encoder: PromptEncoder) -> list[tuple[int, ...]]:
        return [await encoder.prompt(prompt) for prompt in body.prompt]

    def whole_choice(self, index: int, text: str, finish_reason: FinishReason, logprobs: Json | None) -> Json:
        return self.chunk_choice(index, text, finish_reason, logprobs)

    def opening_choice(self, index: int) -> Json | None:  # noqa: ARG002
        return None

    def chunk_choice(self, index: int, text: str, finish_reason: FinishReason | None, logprobs: Json | None) -> Json:
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}
