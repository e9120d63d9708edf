"""The requests of a point: which prompts, as tokens, and how long an answer to each."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from outrider_serving.cli import FlagError
from transformers import PreTrainedTokenizerBase

from benchmarks.load.points import MIXED, TRACES, Point, Scale
from benchmarks.prompts import LONGEST_TOKENS, SPEC_BENCH, Question, chat_tokens

DATA = SPEC_BENCH.parent
TRACE_FILES = {"azure_conv": DATA / "azure_llm_2023_conv.csv", "azure_code": DATA / "azure_llm_2023_code.csv"}
CHARACTERS_A_TOKEN = 8  # more than a text ever has on average: so many are surely enough


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
        self._questions = [q for q in questions if len(chat_tokens(tokenizer, q.text)) <= LONGEST_TOKENS]
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
            return [self._request(self.text_of(each.prompt), each.answer, each.prompt) for each in lengths]
        chosen = in_turn(self._questions, None if point.category == MIXED else point.category)
        return [self._request(question.text, tokens) for question in islice(cycle(chosen), point.requests)]

    def text_of(self, tokens: int) -> str:
        """So much text, and more, of questions one after another; it begins at another one each time."""
        text = ""
        start = self._made % len(self._questions)
        for question in islice(cycle(self._questions), start, None):
            text += question.text + "\n\n"
            if len(text) > CHARACTERS_A_TOKEN * tokens:
                return text
        raise AssertionError("a cycle does not end")

    def long_prompt(self) -> Request:
        length = self._scale.long_prompt_tokens
        return self._request(self.text_of(length), 1, length)

    def _request(self, text: str, tokens: int, prompt_tokens: int | None = None) -> Request:
        """The number in front tells it from all others; prompt_tokens: cut there, in the middle of the question."""
        self._made += 1
        encoded = chat_tokens(self._tokenizer, f"{self._made}. {text}")
        if prompt_tokens is not None and len(encoded) > prompt_tokens:
            frame = self._frame_tokens
            encoded = encoded[: max(prompt_tokens - frame, 1)] + encoded[len(encoded) - frame :]
        return Request(encoded, tokens, seed=self._made)

    @property
    def _frame_tokens(self) -> int:
        """Tokens at the end of every prompt that ask for the answer."""
        one, other = (chat_tokens(self._tokenizer, text) for text in ("a", "b c"))
        same = 0
        while same < len(one) and one[-1 - same] == other[-1 - same]:
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
