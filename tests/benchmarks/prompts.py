"""Which prompts are run: read from a file of Spec-Bench's form, a few of each category, none too long."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from outrider_serving.cli import FlagError
from transformers import PreTrainedTokenizerBase

HERE = Path(__file__).parent
OWN_PROMPTS = HERE / "prompts.jsonl"
SPEC_BENCH = HERE.parents[2] / "shared" / "data" / "spec_bench_even.jsonl"
LONGEST_TOKENS = 1024
# Edits and quotes, where n-grams pay. Spec-Bench has no such category: it always comes from the own file.
COPYING = "copying"


@dataclass(frozen=True)
class Question:
    id: str
    category: str
    text: str  # the first turn; later ones would need an answer to follow


@dataclass(frozen=True)
class Prompt:
    """A question as every system gets it: in the chat template, as tokens."""

    id: str
    category: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Chosen:
    prompts: list[Prompt]  # the first of every category, then the second of every one, and so on
    too_long: dict[str, int]  # category → questions of more than LONGEST_TOKENS tokens, all left out


def chat_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """A conversation of one question, in the model's own template."""
    turns = [{"role": "user", "content": text}]
    rendered = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    return tuple(tokenizer(str(rendered), add_special_tokens=False)["input_ids"])


def question_begins(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many tokens of the template stand before every question."""
    one, other = (chat_tokens(tokenizer, text) for text in ("a", "b"))
    return next(place for place, (mine, its) in enumerate(zip(one, other, strict=False)) if mine != its)


def marked(prompt: Prompt, begins: int, mark: Sequence[int]) -> Prompt:
    """The prompt with some tokens more in front of its question: no server has the beginning in its prefix cache."""
    return replace(prompt, tokens=(*prompt.tokens[:begins], *mark, *prompt.tokens[begins:]))


def default_file() -> Path:
    """Spec-Bench where it lies beside the repository, else the project's own prompts."""
    return SPEC_BENCH if SPEC_BENCH.is_file() else OWN_PROMPTS


def questions_of(file: Path, *, copying: bool) -> list[Question]:
    """The questions of a file; with `copying` those of the own file's category as well, without it none of them.

    Raises FlagError when the file cannot be read.
    """
    questions = read_questions(file)
    if not copying:
        return [question for question in questions if question.category != COPYING]
    if any(question.category == COPYING for question in questions):
        return questions
    return questions + [question for question in read_questions(OWN_PROMPTS) if question.category == COPYING]


def read_questions(file: Path) -> list[Question]:
    """One JSON object a line: question_id, category, turns. Raises FlagError naming the line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise FlagError("--prompts", f"{file}: {reason}; name a file of JSON lines") from None
    questions = [_question(f"{file}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not questions:
        raise FlagError("--prompts", f"{file} holds no question; give one JSON object a line")
    return questions


def _question(place: str, line: str) -> Question:
    try:
        content: Any = json.loads(line)
        turns = content["turns"]
        if not isinstance(turns[0], str):
            raise TypeError
        return Question(str(content["question_id"]), str(content["category"]), turns[0])
    except (ValueError, KeyError, TypeError, IndexError):
        wanted = '{"question_id": 1, "category": "qa", "turns": ["..."]}'
        raise FlagError("--prompts", f"{place}: not of the form {wanted}; correct the line") from None


def choose(questions: Sequence[Question], encode: Callable[[str], Sequence[int]], per_category: int) -> Chosen:
    """The first `per_category` questions of each category that are short enough."""
    of_category: dict[str, list[Prompt]] = {}
    too_long: Counter[str] = Counter()
    for question in questions:
        kept = of_category.setdefault(question.category, [])
        tokens = tuple(encode(question.text))
        if len(tokens) > LONGEST_TOKENS:
            too_long[question.category] += 1
        elif len(kept) < per_category:
            kept.append(Prompt(question.id, question.category, tokens))
    return Chosen(_one_of_each_in_turn(of_category), dict(too_long))


def _one_of_each_in_turn(of_category: Mapping[str, Sequence[Prompt]]) -> list[Prompt]:
    """So that a run that is interrupted has seen as many categories as it could."""
    most = max(map(len, of_category.values()), default=0)
    return [prompts[index] for index in range(most) for prompts in of_category.values() if index < len(prompts)]
