"""What passes between a face (HTTP) and the engine: a request goes in, deltas of text come out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

from outrider_serving.engine.logprobs import TokenLogprob
from outrider_serving.engine.sampling import LEAST_TEMPERATURE, Sampling

FinishReason = Literal["stop", "length"]
MAX_LOGPROBS = 20


@dataclass(frozen=True)
class SamplingParams:
    """How one request chooses its tokens, and when it ends.

    temperature 0 is greedy. `seed` and the absolute position of a token decide its Gumbel noise, so the
    same seed gives the same text whatever is drafted (see `sampler.py`; `sampling.py` has the other fields).
    logprobs: so many likeliest tokens are reported beside each chosen one; None: no log probabilities at all.

    Raises ValueError, naming the field, for a value that is out of range.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    min_tokens: int = 0
    stop_token_ids: tuple[int, ...] = ()
    logprobs: int | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; give at least 1")
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            raise ValueError(f"logprobs is {self.logprobs}; give 0 to {MAX_LOGPROBS}")
        self.rule(frozenset())

    @property
    def greedy(self) -> bool:
        return self.temperature < LEAST_TEMPERATURE

    def ends(self, eos_tokens: frozenset[int]) -> frozenset[int]:
        """The tokens that end an answer, of a model whose own are `eos_tokens`."""
        return frozenset(self.stop_token_ids) | (frozenset() if self.ignore_eos else eos_tokens)

    def rule(self, eos_tokens: frozenset[int]) -> Sampling:
        """What of this decides which token comes next."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            top_k=self.top_k,
            min_p=self.min_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias=self.logit_bias,
            min_tokens=self.min_tokens,
            end_tokens=tuple(sorted(self.ends(eos_tokens))) if self.min_tokens else (),
        )


@dataclass(frozen=True)
class Request:
    """One prompt to continue. `id` appears in logs; the prompt never does. call: what those that a client asked for at
    once share.
    """

    id: str
    call: str
    prompt_tokens: tuple[int, ...]
    sampling: SamplingParams
    continues_prompt: bool = False  # the answer's text goes on the prompt's; else it is a text of its own


@dataclass(frozen=True)
class Delta:
    """What one step added to a request: `tokens` (never past a stop, EOS or max_tokens) and their text.

    `text` can be empty while a character or a possible stop string is incomplete. The last delta has a
    `finish_reason`; its text holds whatever was held back. `logprobs`: one entry a token, if they were asked for.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class RequestError(ValueError):
    """The prompt cannot be served as it is; the message says why and names the remedy."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class QueueFull(RuntimeError):
    """As many requests wait already as may; this one was not taken in. retry_after_s: when to try again."""

    code = "queue_full"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineStopped(RuntimeError):
    """The engine ended while the request ran, or before; another replica can serve it."""

    code = "engine_stopped"


class Generator(Protocol):
    """The engine as a face sees it. Thread-safe towards the engine's own thread; call from one event loop."""

    @property
    def model_name(self) -> str: ...

    @property
    def max_model_len_tokens(self) -> int: ...

    @property
    def vocabulary_size(self) -> int:
        """Rows of the model's embedding. A tokenizer may have fewer tokens, and more."""
        ...

    @property
    def max_open_requests(self) -> int:
        """That run and that wait, together."""
        ...

    def generate(self, request: Request) -> AsyncIterator[Delta]:
        """Streams the request's deltas. Closing the iterator (`aclose`, task cancellation) cancels the
        request and frees its KV at once.

        Raises RequestError when the prompt does not fit, and QueueFull, both before the first delta; EngineStopped
        at any time."""
        ...
