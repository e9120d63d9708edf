"""One request on its way through the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from outrider_serving.engine.calibration import Calibration
from outrider_serving.engine.detokenizer import Detokenizer
from outrider_serving.engine.kv_cache import SequenceKV
from outrider_serving.engine.request import Delta, FinishReason, Request
from outrider_serving.engine.sampler import Sampling
from outrider_serving.target.ngram import NGramIndex


@dataclass(eq=False)
class Sequence:
    """Filled by the scheduler (kv), the step (tokens) and the drafters (epoch, generation).

    tokens: prompt and output so far. Between steps the cache holds all of them but the last, which is the root
    of the next tree.
    """

    id: int
    request: Request
    detokenizer: Detokenizer
    kv: SequenceKV
    eos_tokens: frozenset[int]
    max_model_len_tokens: int
    emit: Callable[[Delta], None]
    abort: Callable[[], None]
    calibration: Calibration
    ngrams: NGramIndex
    prefill_s: float = 0.0
    tokens: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.tokens = list(self.request.prompt_tokens)

    @property
    def sampling(self) -> Sampling:
        params = self.request.sampling
        return Sampling(params.temperature, params.top_p, params.seed)

    @property
    def prompt_length(self) -> int:
        return len(self.request.prompt_tokens)

    @property
    def output_length(self) -> int:
        return len(self.tokens) - self.prompt_length

    @property
    def decoding(self) -> bool:
        """The prompt is in the cache, but for its last token."""
        return self.kv.length == len(self.tokens) - 1

    @property
    def remaining(self) -> int:
        """Tokens that may still come."""
        wanted = self.request.sampling.max_tokens - self.output_length
        return min(wanted, self.max_model_len_tokens - len(self.tokens))

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None or self.cancelled

    def append(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """Takes a step's tokens as far as the request goes: a stop string, an end token or the length can fall
        inside an accepted run. Streams their text, and returns those taken.
        """
        text: list[str] = []
        taken: list[int] = []
        for token in tokens:
            self.tokens.append(token)
            taken.append(token)
            if token in self.eos_tokens and not self.request.sampling.ignore_eos:
                self.finish_reason = "stop"
                break
            text.append(self.detokenizer.feed(token))
            if self.detokenizer.stopped:
                self.finish_reason = "stop"
                break
            if self.remaining == 0:
                self.finish_reason = "length"
                break
        if self.finish_reason is not None:
            text.append(self.detokenizer.flush())
        self.emit(Delta("".join(text), tuple(taken), self.finish_reason))
        return tuple(taken)
