"""From text to tokens, off the event loop: a long prompt must not stall everybody else's stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from outrider_serving.api.errors import CONTEXT_LENGTH_EXCEEDED, ApiError, shorten
from outrider_serving.api.schema import ChatMessage, Prompt

Result = TypeVar("Result")

# So many for each token of the context are encoded at once: of English and of code, twice what fits.
UNCOUNTED_CHARACTERS = 8
# A longer text is counted first, in pieces of 20 to 45 ms between which others have their turn.
PIECE_CHARACTERS = 16_384


class PromptEncoder:
    """Runs the chat template and the tokenizer in one thread of its own.

    One thread, because a fast tokenizer may refuse a second caller ("Already borrowed") while it changes its
    own settings; the thread hop costs a tenth of a millisecond. So nobody may have it for long: 8 MiB take 10 to 24 s.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary_size: int, context_tokens: int) -> None:
        """vocabulary_size: rows of the model's embedding. context_tokens: a longer text may be refused unencoded."""
        self._tokenizer = tokenizer
        self._context_tokens = context_tokens
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenize")
        # Tokens that were added to the tokenizer and not to the model lead past the end of its embedding.
        self._token_count = min(max(tokenizer.get_vocab().values(), default=-1) + 1, vocabulary_size)
        # The first call is the one that changes settings (truncation and padding of tokenizer.json): it is
        # made here, before the engine starts to read from the same tokenizer.
        tokenizer("", verbose=False)

    async def chat(self, messages: Sequence[ChatMessage]) -> tuple[int, ...]:
        """Raises ApiError when the tokenizer has no template, the template refuses the messages, they are far longer
        than the context, or a token of theirs is unknown to the model.
        """
        text = await self._run(lambda: self._rendered(messages))
        return await self._tokens(text, add_special_tokens=False, param="messages")

    async def prompt(self, prompt: Prompt) -> tuple[int, ...]:
        """Raises ApiError when the prompt is empty or far longer than the context, or a token is unknown to the
        tokenizer or the model.
        """
        if isinstance(prompt, str):
            return await self._tokens(prompt, add_special_tokens=True, param="prompt")
        await self._run(lambda: self.check_token_ids(prompt, "prompt"))
        return prompt

    def check_token_ids(self, tokens: Iterable[int], param: str) -> None:
        """Raises ApiError, naming the field `param`, for a token that the tokenizer or the model does not have."""
        unknown = next((token for token in tokens if not 0 <= token < self._token_count), None)
        if unknown is not None:
            raise ApiError(
                f"{param}: the model has no token {shorten(str(unknown), 24)}; ids go up to {self._token_count - 1}",
                param=param,
            )

    async def _run(self, job: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    async def _tokens(self, text: str, *, add_special_tokens: bool, param: str) -> tuple[int, ...]:
        if len(text) > UNCOUNTED_CHARACTERS * self._context_tokens:
            await self._refuse_far_too_long(text, param)
        return await self._run(lambda: self._encode(text, add_special_tokens=add_special_tokens, param=param))

    async def _refuse_far_too_long(self, text: str, param: str) -> None:
        """Raises ApiError when the text's pieces are of twice the context: whole it is of a few tokens less, one or
        two for each cut.
        """
        tokens = 0
        for start in range(0, len(text), PIECE_CHARACTERS):
            piece = text[start : start + PIECE_CHARACTERS]
            tokens += len(await self._run(partial(self._input_ids, piece, add_special_tokens=False)))
            if tokens > 2 * self._context_tokens:
                raise ApiError(
                    f"the prompt has more than {self._context_tokens} tokens, and the model's context is "
                    f"{self._context_tokens}, the answer included; shorten {param} to at most "
                    f"{self._context_tokens - 1} tokens",
                    param=param,
                    code=CONTEXT_LENGTH_EXCEEDED,
                )

    def _rendered(self, messages: Sequence[ChatMessage]) -> str:
        if not self._tokenizer.chat_template:
            raise ApiError(
                "this model has no chat template; send the text as `prompt` to /v1/completions",
                param="messages",
            )
        knows_developer = "developer" in str(self._tokenizer.chat_template)
        turns = [_turn(message, knows_developer) for message in messages]
        try:
            return str(self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))
        except TemplateError as error:
            raise ApiError(
                f"the model's chat template refuses these messages: {shorten(str(error))}", param="messages"
            ) from None
        except (ArithmeticError, LookupError, TypeError, ValueError):
            raise ApiError(
                "the model's chat template fails on these messages; check their order and roles",
                param="messages",
            ) from None

    def _encode(self, text: str, *, add_special_tokens: bool, param: str) -> tuple[int, ...]:
        tokens = self._input_ids(text, add_special_tokens=add_special_tokens)
        if not tokens:
            raise ApiError(f"{param} is empty; give at least one token to continue", param=param)
        self.check_token_ids(tokens, param)
        return tuple(tokens)

    def _input_ids(self, text: str, *, add_special_tokens: bool) -> list[int]:
        # verbose: the tokenizer's own warning about long inputs is answered properly by `tokens_allowed`.
        encoded = self._tokenizer(text, add_special_tokens=add_special_tokens, verbose=False)
        return list(encoded["input_ids"])


def _turn(message: ChatMessage, knows_developer: bool) -> dict[str, str]:
    """`developer` is OpenAI's later name of `system`; a template that does not know it may drop it unseen."""
    role = "system" if message.role == "developer" and not knows_developer else message.role
    return {"role": role} | message.model_dump(exclude={"role"}, exclude_none=True)


def tokens_allowed(
    prompt_tokens: int,
    context_tokens: int,
    asked: int | None,
    default: int | None,
    param: str,
    limit_param: str,
) -> int:
    """How many tokens may be generated after a prompt.

    `asked` is the client's limit, from its field `limit_param`; without one the answer is `default` (None: as
    many as the context holds), cut to what fits. `param` is the field that holds the prompt.
    Raises ApiError when the prompt leaves no room, or less than was asked for.
    """
    room = context_tokens - prompt_tokens
    if room < 1:
        raise ApiError(
            f"the prompt has {prompt_tokens} tokens and the model's context is {context_tokens}, the answer "
            f"included; shorten {param} to at most {context_tokens - 1} tokens",
            param=param,
            code=CONTEXT_LENGTH_EXCEEDED,
        )
    if asked is not None and asked > room:
        raise ApiError(
            f"{limit_param} is {asked}, but after a prompt of {prompt_tokens} tokens the model's context of "
            f"{context_tokens} has room for {room}; lower {limit_param} or shorten {param}",
            param=limit_param,
            code=CONTEXT_LENGTH_EXCEEDED,
        )
    if asked is not None:
        return asked
    return room if default is None else min(default, room)
