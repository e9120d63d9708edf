"""From text to tokens, one thread for all: nobody's text, however long, keeps it from the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from outrider_serving.api.errors import ApiError
from outrider_serving.api.prompt import PIECE_CHARACTERS, UNCOUNTED_CHARACTERS, PromptEncoder
from outrider_serving.api.schema import ChatMessage
from transformers import PreTrainedTokenizerBase
from unit.api.scripted import SPECIAL_TOKENS, tiny_tokenizer

CONTEXT_TOKENS = 40_000
FAR_TOO_LONG = "x" * (UNCOUNTED_CHARACTERS * CONTEXT_TOKENS + 1)

Ask = Callable[[PromptEncoder, str], Awaitable[tuple[int, ...]]]


class Watched:
    """A tokenizer, and how long the texts were that it was given."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.given_characters: list[int] = []

    def __call__(self, text: str, **settings: Any) -> Any:
        self.given_characters.append(len(text))
        return self._tokenizer(text, **settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def encoder(tokenizer: Any) -> PromptEncoder:
    return PromptEncoder(tokenizer, vocabulary_size=258, context_tokens=CONTEXT_TOKENS)


async def complete(encoder: PromptEncoder, text: str) -> tuple[int, ...]:
    return await encoder.prompt(text)


async def chat(encoder: PromptEncoder, text: str) -> tuple[int, ...]:
    return await encoder.chat([ChatMessage(role="user", content=text)])


@pytest.mark.parametrize(("ask", "param"), [(complete, "prompt"), (chat, "messages")])
async def test_a_text_far_longer_than_the_context_is_refused_before_it_is_encoded(ask: Ask, param: str) -> None:
    tokenizer = Watched(tiny_tokenizer())

    with pytest.raises(ApiError, match=f"more than {CONTEXT_TOKENS} tokens.*shorten {param}") as refusal:
        await ask(encoder(tokenizer), FAR_TOO_LONG)

    assert (refusal.value.code, refusal.value.param) == ("context_length_exceeded", param)
    assert max(tokenizer.given_characters) == PIECE_CHARACTERS
    assert sum(tokenizer.given_characters) < 2 * CONTEXT_TOKENS + PIECE_CHARACTERS


@pytest.mark.parametrize("ask", [complete, chat])
async def test_a_short_prompt_has_its_turn_amid_one_that_is_far_too_long(ask: Ask) -> None:
    one = encoder(tiny_tokenizer())
    over: list[str] = []

    async def long() -> None:
        with pytest.raises(ApiError):
            await ask(one, FAR_TOO_LONG)
        over.append("long")

    async def short() -> None:
        assert len(await one.prompt("Hello")) == 5
        over.append("short")

    await asyncio.gather(long(), short())

    assert over == ["short", "long"]


async def test_a_text_of_long_tokens_is_no_longer_than_its_tokens() -> None:
    start = SPECIAL_TOKENS[0]
    text = start * (CONTEXT_TOKENS - 1)  # its pieces are cut amid one
    assert len(text) > len(FAR_TOO_LONG)

    assert len(await encoder(tiny_tokenizer()).prompt(text)) == CONTEXT_TOKENS - 1
