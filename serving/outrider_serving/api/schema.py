"""The bodies of requests, checked at the border: what comes out of here has the right types and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, PlainValidator
from pydantic_core import PydanticCustomError

from outrider_serving.api.errors import shorten
from outrider_serving.engine.sampling import LEAST_REPETITION_PENALTY, MAX_BIAS

MAX_STOP_STRINGS = 4
MAX_STOP_TOKENS = 64
MAX_PROMPTS = 256  # each is a sequence of its own in the engine
MAX_MESSAGES = 16_384  # read on the event loop, 7 µs each; a template makes four tokens of the least
MAX_CHOICES = 128
MAX_BIASED_TOKENS = 1024
INT64 = 2**63

Prompt = str | tuple[int, ...]


def _refuse(reason: str) -> PydanticCustomError:
    # The reason goes in as context, because braces in a template would be read as fields.
    return PydanticCustomError("invalid", "{reason}", {"reason": reason})


def _stop_strings(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list) or not all(isinstance(string, str) for string in strings):
        raise _refuse("give a string or a list of strings")
    if len(strings) > MAX_STOP_STRINGS:
        raise _refuse(f"there are {len(strings)} stop strings; give at most {MAX_STOP_STRINGS}")
    if not all(strings):
        raise _refuse("a stop string is empty; give at least one character, or leave stop out")
    return tuple(strings)


def _logit_bias(value: object) -> tuple[tuple[int, float], ...]:
    """{"token id": bias}, as JSON has it; null is none."""
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise _refuse("give an object of token ids and biases")
    if len(value) > MAX_BIASED_TOKENS:
        raise _refuse(f"there are {len(value)} tokens; give at most {MAX_BIASED_TOKENS}")
    for token, bias in value.items():
        if not (isinstance(token, str) and token.isascii() and token.isdigit() and len(token) < 10):
            raise _refuse("a key is not a token id; give ids of the model's tokenizer as strings of digits")
        if isinstance(bias, bool) or not isinstance(bias, int | float) or not abs(bias) <= MAX_BIAS:
            raise _refuse(f"a bias is not a number from -{MAX_BIAS:g} to {MAX_BIAS:g}")
    return tuple({int(token): float(bias) for token, bias in value.items()}.items())


def _token_ids(value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not _are_token_ids(value):
        raise _refuse("give a list of token ids")
    if len(value) > MAX_STOP_TOKENS:
        raise _refuse(f"there are {len(value)} token ids; give at most {MAX_STOP_TOKENS}")
    return tuple(value)


def _prompts(value: object) -> tuple[Prompt, ...]:
    """A string, token ids, or a list of either: always as a tuple of prompts, one for each choice."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise _refuse("give a string, a list of strings, token ids, or a list of lists of token ids")
    if not value:
        raise _refuse("the list is empty; give at least one prompt")
    if _are_token_ids(value):
        return (tuple(value),)
    if len(value) > MAX_PROMPTS:
        raise _refuse(f"there are {len(value)} prompts; give at most {MAX_PROMPTS} in one request")
    if all(isinstance(prompt, str) for prompt in value):
        return tuple(value)
    if all(isinstance(prompt, list) and prompt and _are_token_ids(prompt) for prompt in value):
        return tuple(tuple(prompt) for prompt in value)
    raise _refuse("the list mixes kinds or holds an empty one; give only strings, only token ids, or only lists of ids")


def _are_token_ids(values: list[object]) -> bool:
    return all(type(value) is int for value in values)  # `type`: True is an int to isinstance


def _text(value: object) -> str:
    """A message's content: a string, or text parts joined by line breaks. Other parts are refused."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise _refuse("give a string or a list of text parts")
    return "\n".join(_text_of_part(index, part) for index, part in enumerate(value))


def _text_of_part(index: int, part: object) -> str:
    if not isinstance(part, Mapping):
        raise _refuse(f'part {index} is not an object; give {{"type": "text", "text": "…"}}')
    kind = part.get("type")
    if kind != "text":
        named = f"of type {shorten(kind, 64)}" if isinstance(kind, str) else "of no type"
        raise _refuse(f"part {index} is {named}; this server reads parts of type text only")
    text = part.get("text")
    if not isinstance(text, str):
        raise _refuse(f"part {index} has no text; give it as a string")
    return text


class _Strict(BaseModel):
    # Unknown fields are judged by `fields.py`, which can say what was meant.
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class StreamOptions(_Strict):
    include_usage: bool | None = None


class GenerationBody(_Strict):
    """What both routes take. Not OpenAI's but vLLM's are `ignore_eos` (benchmarks need answers of a given length),
    `top_k`, `min_p`, `repetition_penalty`, `min_tokens` and `stop_token_ids`.
    """

    model: str
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-INT64, lt=INT64)
    stop: Annotated[tuple[str, ...], PlainValidator(_stop_strings)] = ()
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool | None = None
    n: int | None = Field(default=None, ge=1, le=MAX_CHOICES)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, ge=LEAST_REPETITION_PENALTY, le=10)
    logit_bias: Annotated[tuple[tuple[int, float], ...], PlainValidator(_logit_bias)] = ()
    top_k: int | None = Field(default=None, ge=-1, lt=2**31)
    min_p: float | None = Field(default=None, ge=0, le=1)
    min_tokens: int | None = Field(default=None, ge=0)
    stop_token_ids: Annotated[tuple[int, ...], PlainValidator(_token_ids)] = ()

    @property
    def choices(self) -> int:
        """For each prompt."""
        return self.n or 1

    @property
    def wants_usage_chunk(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatMessage(_Strict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str, BeforeValidator(_text)]
    name: str | None = None
    tool_call_id: str | None = None


class ChatBody(GenerationBody):
    # At the first that is wrong: of 8 MiB of messages that all are, the errors took 5 GiB, and the event loop a minute.
    messages: Annotated[list[ChatMessage], FailFast()] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)


class CompletionBody(GenerationBody):
    prompt: Annotated[tuple[Prompt, ...], PlainValidator(_prompts)]
    logprobs: int | None = Field(default=None, ge=0, le=5)
    best_of: int | None = Field(default=None, ge=1)
