"""The requests of a point: which prompts, as tokens, and how long an answer to each."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

from outrider_serving.cli import FlagError
from transformers import PreTrainedTokenizerBase

from benchmarks.load.points import MIXED, TRACES, Point, Scale
from benchmarks.prompts import LONGEST_TOKENS, SPEC_BENCH, Question, chat_tokens

DATA = SPEC_BENCH.parent
TRACE_FILES = {"azure_conv": DATA / "azure_llm_2023_conv.csv", "azure_code": DATA / "azure_llm_2023_code.csv"}


@dataclass(frozen=True)
class Request:
    """A prompt as every contender gets it, and the tokens it is answered by."""

    prompt: tuple[int, ...]
    tokens: int
    seed: int


@dataclass(frozen=True)
class Lengths:
    prompt: int
    answer: int


class Workload:
    """Makes the requests of every point, none of them twice: a prefix cache must not answer for an earlier point."""

    def __init__(self, questions: Sequence[Question], tokenizer: PreTrainedTokenizerBase, scale: Scale) -> None:
        self._tokenizer = tokenizer
        self._scale = scale
        lengths = [(question, len(chat_tokens(tokenizer, question.text))) for question in questions]
        self._lengths = [(question, length) for question, length in lengths if length <= LONGEST_TOKENS]
        self._questions = [question for question, _ in self._lengths]
        # What the template adds to every question.
        self._frame_tokens = len(chat_tokens(tokenizer, ""))
        self._end_tokens = _same_at_the_end(*(chat_tokens(tokenizer, text) for text in ("a", "b c")))
        self._made = 0

    @property
    def categories(self) -> list[str]:
        """All that can be asked for, those traces included whose file is there."""
        traces = [trace for trace in TRACES if TRACE_FILES[trace].is_file()]
        return [MIXED, *traces, *dict.fromkeys(question.category for question in self._questions)]

    def requests(self, point: Point, tokens: int) -> list[Request]:
        """tokens: of an answer, where no trace says it. Raises FlagError when a trace cannot be read."""
        if point.category in TRACES:
            lengths = scaled(read_trace(TRACE_FILES[point.category]), point.requests, self._scale)
            return [self.cut_to(each.prompt, each.answer) for each in lengths]
        chosen = in_turn(self._questions, None if point.category == MIXED else point.category)
        return [self._request(question.text, tokens) for question in islice(cycle(chosen), point.requests)]

    def long_prompt(self) -> Request:
        return self.cut_to(self._scale.long_prompt_tokens, answer=1)

    def cut_to(self, tokens: int, answer: int) -> Request:
        """A prompt of so many tokens: questions one after another, cut in the middle of the last one."""
        whole = self._request(self._text_of(tokens), answer)
        end = self._end_tokens
        return replace(whole, prompt=whole.prompt[: max(tokens - end, 1)] + whole.prompt[len(whole.prompt) - end :])

    def _text_of(self, tokens: int) -> str:
        """So much text, or a question more; it begins at another question each time."""
        texts: list[str] = []
        for question, length in islice(cycle(self._lengths), self._made % len(self._lengths), None):
            texts.append(question.text)
            tokens -= length - self._frame_tokens
            if tokens <= 0:
                break
        return "\n\n".join(texts)

    def _request(self, text: str, tokens: int) -> Request:
        """The number in front tells it from all others."""
        self._made += 1
        return Request(chat_tokens(self._tokenizer, f"{self._made}. {text}"), tokens, seed=self._made)


def _same_at_the_end(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens at the end of both are the same: those that ask for the answer."""
    same = 0
    while same < min(len(one), len(other)) and one[-1 - same] == other[-1 - same]:
        same += 1
    return same


def in_turn(questions: Sequence[Question], category: str | None) -> list[Question]:
    """Those of a category; for None the first of every one, then the second of every one, and so on."""
    of: dict[str, list[Question]] = {}
    for question in questions:
        if category in (None, question.category):
            of.setdefault(question.category, []).append(question)
    most = max(map(len, of.values()), default=0)
    return [each[index] for index in range(most) for each in of.values() if index < len(each)]


def read_trace(file: Path) -> list[Lengths]:
    """Prompt and answer lengths in tokens, in the order of arrival. Raises FlagError naming the file."""
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines)
            found = [Lengths(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in rows]
    except (OSError, ValueError, KeyError) as error:
        raise FlagError("--only", f"{file} is no trace of Azure's ({error}); leave {file.stem} out") from None
    if not found:
        raise FlagError("--only", f"{file} holds no request; leave it out")
    return found


def scaled(trace: Sequence[Lengths], count: int, scale: Scale) -> list[Lengths]:
    """So many requests, evenly spread over the trace, divided by the scale's divisor, and made to fit."""
    picked = [trace[index * len(trace) // count] for index in range(count)]
    shortest_prompt, longest_answer = 32, scale.longest_tokens // 4
    return [
        Lengths(
            prompt=min(max(each.prompt // scale.trace_divisor, shortest_prompt), scale.longest_tokens - longest_answer),
            answer=min(max(each.answer // scale.trace_divisor, 2), longest_answer),
        )
        for each in picked
    ]
