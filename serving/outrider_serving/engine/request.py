"""What passes between a face (HTTP) and the engine: a request goes in, deltas of text come out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class SamplingParams:
    """How one request chooses its tokens.

    temperature 0 is greedy. `seed` and the absolute position of a token decide its Gumbel noise, so the
    same seed gives the same text whatever is drafted (see `sampler.py`).
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; give at least 1")
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; give 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; give a value above 0 and at most 1")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


@dataclass(frozen=True)
class Request:
    """One prompt to continue. `id` appears in logs; the prompt never does."""

    id: str
    prompt_tokens: tuple[int, ...]
    sampling: SamplingParams


@dataclass(frozen=True)
class Delta:
    """What one step added to a request: `tokens` (never past a stop, EOS or max_tokens) and their text.

    `text` can be empty while a character or a possible stop string is incomplete. The last delta has a
    `finish_reason`; its text holds whatever was held back.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason | None = None


class RequestError(ValueError):
    """The request cannot be served as it is; the message names the field (`param`) and the remedy."""

    def __init__(self, message: str, param: str, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class Generator(Protocol):
    """The engine as a face sees it. Thread-safe towards the engine's own thread; call from one event loop."""

    @property
    def model_name(self) -> str: ...

    @property
    def max_model_len_tokens(self) -> int: ...

    def generate(self, request: Request) -> AsyncIterator[Delta]:
        """Streams the request's deltas. Closing the iterator (`aclose`, task cancellation) cancels the
        request and frees its KV at once.

        Raises RequestError when the prompt does not fit, before the first delta."""
        ...
