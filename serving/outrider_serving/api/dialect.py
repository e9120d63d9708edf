"""What the two generation routes have in common, and the interface of what differs between them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, TypeVar

from outrider_serving.api.errors import ApiError
from outrider_serving.api.logprobs import TokenTexts
from outrider_serving.api.prompt import PromptEncoder
from outrider_serving.api.schema import GenerationBody
from outrider_serving.engine.logprobs import TokenLogprob
from outrider_serving.engine.request import FinishReason, SamplingParams
from outrider_serving.engine.sampling import seed_of_choice

Json = dict[str, Any]
BodyT = TypeVar("BodyT", bound=GenerationBody)


class Dialect(Protocol[BodyT]):
    """One route's way to read a request and to word its answer. Holds no state."""

    id_prefix: ClassVar[str]
    prompt_param: ClassVar[str]
    continues_prompt: ClassVar[bool]
    default_max_tokens: ClassVar[int | None]  # None: what fits in the context
    whole_object: ClassVar[str]
    chunk_object: ClassVar[str]

    def parse(self, raw: Json) -> BodyT:
        """Raises ApiError."""
        ...

    def limit(self, body: BodyT) -> tuple[int | None, str]:
        """The client's limit of tokens, and the field that it came in."""
        ...

    async def prompts(self, body: BodyT, encoder: PromptEncoder) -> list[tuple[int, ...]]:
        """The tokens of each prompt; one choice comes back for each. Raises ApiError."""
        ...

    def top_logprobs(self, body: BodyT) -> int | None:
        """How many likeliest tokens are reported beside each token; None: no log probabilities."""
        ...

    def logprobs(self, entries: Sequence[TokenLogprob], texts: TokenTexts, offset: int) -> Json:
        """`offset`: how much text the tokens before `entries` stand for."""
        ...

    def whole_choice(self, index: int, text: str, finish_reason: FinishReason, logprobs: Json | None) -> Json: ...

    def opening_choice(self, index: int) -> Json | None:
        """What a stream says of a choice before its first text."""
        ...

    def chunk_choice(
        self, index: int, text: str, finish_reason: FinishReason | None, logprobs: Json | None
    ) -> Json: ...


@dataclass
class Usage:
    """Tokens of one answer, over all its choices. Filled while the answer is made."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def body(self) -> Json:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


@dataclass
class Answer:
    """Who answers what: the fields that every object of one answer repeats."""

    id: str
    created_s: int
    model: str
    system_fingerprint: str
    usage: Usage = field(default_factory=Usage)

    def head(self, object_name: str) -> Json:
        return {
            "id": self.id,
            "object": object_name,
            "created": self.created_s,
            "model": self.model,
            "system_fingerprint": self.system_fingerprint,
        }


def sampling_params(body: GenerationBody, max_tokens: int, logprobs: int | None) -> list[SamplingParams]:
    """One for each of a prompt's choices. A request without a seed gets a random one, written down nowhere."""
    if body.min_tokens is not None and body.min_tokens > max_tokens:
        raise ApiError(
            f"min_tokens is {body.min_tokens}, but at most {max_tokens} tokens come; lower it or raise max_tokens",
            param="min_tokens",
        )
    seed = int.from_bytes(os.urandom(8), signed=True) if body.seed is None else body.seed
    first = SamplingParams(
        max_tokens=max_tokens,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=seed,
        stop=body.stop,
        ignore_eos=bool(body.ignore_eos),
        top_k=max(body.top_k or 0, 0),
        min_p=body.min_p or 0.0,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        repetition_penalty=1.0 if body.repetition_penalty is None else body.repetition_penalty,
        logit_bias=body.logit_bias,
        min_tokens=body.min_tokens or 0,
        stop_token_ids=body.stop_token_ids,
        logprobs=logprobs,
    )
    return [replace(first, seed=seed_of_choice(seed, index)) for index in range(body.choices)]


def compact(value: Mapping[str, Any]) -> str:
    """JSON in ASCII: some readers of event streams also split lines at U+2028 and its like."""
    return json.dumps(value, separators=(",", ":"))
