"""The bodies of requests, checked at the border: what comes out of here has the right types and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

from outrider_serving.api.errors import shorten

MAX_STOP_STRINGS = 4
MAX_PROMPTS = 256  # each is a sequence of its own in the engine
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
    """What both routes take. `ignore_eos` is not OpenAI's: benchmarks need answers of a given length."""

    model: str
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-INT64, lt=INT64)
    stop: Annotated[tuple[str, ...], PlainValidator(_stop_strings)] = ()
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool | None = None

    @property
    def wants_usage_chunk(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatMessage(_Strict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str, BeforeValidator(_text)]
    name: str | None = None
    tool_call_id: str | None = None


class ChatBody(GenerationBody):
    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)


class CompletionBody(GenerationBody):
    prompt: Annotated[tuple[Prompt, ...], PlainValidator(_prompts)]
