"""One request on its way through the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from outrider_serving.engine.calibration import Calibration
from outrider_serving.engine.detokenizer import Detokenizer
from outrider_serving.engine.kv_cache import SequenceKV
from outrider_serving.engine.processors import History
from outrider_serving.engine.request import Delta, FinishReason, Request
from outrider_serving.engine.sampler import Choice, Place
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
    vocabulary_size: int
    max_model_len_tokens: int
    emit: Callable[[Delta], None]
    abort: Callable[[Exception], None]
    calibration: Calibration
    ngrams: NGramIndex
    prefill_s: float = 0.0
    tokens: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    cancelled: bool = False
    failed: bool = False

    def __post_init__(self) -> None:
        self.tokens = list(self.request.prompt_tokens)
        # Since the draft last had it: the first token came of the prompt, and took no step.
        self.undrafted_from, self.undrafted_s = len(self.tokens) + 1, 0.0
        self.sampling = self.request.sampling.rule(self.eos_tokens)
        self._ends = self.request.sampling.ends(self.eos_tokens)
        self._history: History | None = None
        if self.sampling.edits_logits:
            self._history = History(self.sampling, self.tokens, self.prompt_length, self.vocabulary_size)

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
        return self.finish_reason is not None or self.cancelled or self.failed

    def fail(self, error: Exception) -> None:
        """Ends here, and the client is told; the others go on."""
        self.failed = True
        self.abort(error)

    def place(self, path: tuple[int, ...], children: tuple[int, ...], tolerance: float) -> Place:
        """Where the token after those of a tree's `path` is chosen; the tree holds `children` there."""
        return Place(
            sampling=self.sampling,
            position=len(self.tokens) + len(path),
            edits=None if self._history is None else self._history.edits(path),
            children=children,
            tolerance=tolerance,
            logprobs=self.request.sampling.logprobs,
        )

    def append(self, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        """Takes a step's tokens as far as the request goes: a stop string, an end token or the length can fall
        inside an accepted run. Streams their text, and returns those taken.
        """
        text: list[str] = []
        taken: list[Choice] = []
        for choice in choices:
            token = choice.token
            self.tokens.append(token)
            taken.append(choice)
            if token in self._ends:
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
            if self.detokenizer.stopped:
                self.finish_reason = "stop"
        tokens = tuple(choice.token for choice in taken)
        if self._history is not None:
            self._history.extend(tokens)
        logprobs = tuple(choice.logprob for choice in taken if choice.logprob is not None)
        self.emit(Delta("".join(text), tokens, self.finish_reason, logprobs))
        return tuple(taken)
