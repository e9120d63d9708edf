"""The tokens are those of the target alone, whoever drafts, however they are chosen, one at a time and six at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from e2e.asking import ANSWER_TOKENS, GREEDY, SAMPLED, Answer, Way, ask_at_once, ask_one_at_a_time, request
from e2e.conftest import Reference
from e2e.resources import MODEL_S, speculative_model
from e2e.running import Up, running
from e2e.tasks import TASKS, Task
from transformers import AutoModelForCausalLM, AutoTokenizer

pytestmark = [pytest.mark.model_s, pytest.mark.timeout(600)]

Ask = Callable[[str, Sequence[dict[str, object]]], list[Answer]]


@dataclass(frozen=True)
class Drafting:
    """What was drafted between two readings of the target's metrics."""

    asked: float
    tree_hits: float
    trees: float
    accepted: float
    tokens_per_step: float

    @classmethod
    def between(cls, before: dict[str, float], after: dict[str, float]) -> Drafting:
        def rise(name: str) -> float:
            return after[f"outrider_{name}_total"] - before[f"outrider_{name}_total"]

        return cls(
            asked=rise("draft_asked"),
            tree_hits=rise("draft_tree_hits"),
            trees=rise("spec_decode_num_drafts"),
            accepted=rise("spec_decode_num_accepted_tokens"),
            tokens_per_step=rise("decode_tokens") / rise("decode_sequence_steps"),
        )


@dataclass(frozen=True)
class Speculating:
    """A run, and what must be seen in its metrics for its answers to prove anything."""

    up: Up
    shown: Callable[[Drafting], bool]
    # Asked one at a time, which takes longest; fewer where the same pair has been asked for all of them already.
    alone: Sequence[Task] = TASKS


def mostly_agrees(drafting: Drafting) -> bool:
    return drafting.tree_hits > 0 and drafting.accepted > 0 and drafting.tokens_per_step > 1.5


def hardly_ever_agrees(drafting: Drafting) -> bool:
    return drafting.tree_hits > 0 and 0 < drafting.accepted < drafting.trees


def drafts_by_ngrams(drafting: Drafting) -> bool:
    return drafting.asked == 0 and drafting.trees > 0 and drafting.accepted > 0


@pytest.fixture(
    scope="module",
    params=["itself, taking turns", "itself, on its own core", "first layers", "n-grams"],
)
def speculating(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Speculating]:
    folder = tmp_path_factory.mktemp("speculating")
    match request.param:
        case "itself, taking turns":
            itself: Up = request.getfixturevalue("itself")
            assert itself.placement() == "Shared"
            yield Speculating(itself, mostly_agrees)
        case "itself, on its own core":
            with running(folder, two_cores()) as up:
                assert_pinned(up)
                yield Speculating(up, mostly_agrees, alone=TASKS[::4])
        case "first layers":
            resource = speculative_model(draft=request.getfixturevalue("first_layers"), mode="Always")
            with running(folder, resource) as up:
                yield Speculating(up, hardly_ever_agrees)
        case _:
            with running(folder, speculative_model()) as up:
                yield Speculating(up, drafts_by_ngrams)


def two_cores() -> dict[str, object]:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.fail("draft and target on cores of their own need a machine with two cores", pytrace=False)
    return speculative_model(draft=MODEL_S, mode="Always", own_cores=True)


def assert_pinned(up: Up) -> None:
    assert up.placement() == "Own"
    target, draft = (up.role(role).cpu_affinity() for role in ("target", "draft"))
    assert target is not None
    assert draft is not None
    assert (len(target), len(draft)) == (1, 1)
    assert target != draft


@pytest.mark.parametrize("way", [GREEDY, SAMPLED], ids=lambda way: way.name)
@pytest.mark.parametrize("ask", [ask_one_at_a_time, ask_at_once], ids=["one at a time", "six at once"])
def test_the_answers_are_those_of_the_target_alone(
    speculating: Speculating, reference: Reference, way: Way, ask: Ask
) -> None:
    tasks = speculating.alone if ask is ask_one_at_a_time else TASKS
    expected = dict(zip(TASKS, reference.answers(way), strict=True))
    before = speculating.up.metrics()
    answers = ask(speculating.up.url, [request(task, way) for task in tasks])
    drafting = Drafting.between(before, speculating.up.metrics())
    assert answers == [expected[task] for task in tasks]
    assert speculating.shown(drafting), drafting


@pytest.mark.parametrize("way", [GREEDY, SAMPLED], ids=lambda way: way.name)
def test_every_answer_is_long_enough_to_compare(reference: Reference, way: Way) -> None:
    lengths = {
        task.prompt: answer.completion_tokens for task, answer in zip(TASKS, reference.answers(way), strict=True)
    }
    assert lengths == dict.fromkeys(lengths, ANSWER_TOKENS)


def test_greedy_answers_are_those_of_transformers(reference: Reference, model_s: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(model_s)
    model: Any = AutoModelForCausalLM.from_pretrained(model_s, dtype=torch.float32).eval()
    for task, answer in zip(TASKS, reference.answers(GREEDY), strict=True):
        messages = [{"role": "user", "content": task.prompt}]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        output = model.generate(**prompt, max_new_tokens=ANSWER_TOKENS, do_sample=False)
        tokens = output[0, prompt["input_ids"].shape[1] :]
        assert answer.text == tokenizer.decode(tokens, skip_special_tokens=True)
        assert answer.completion_tokens == len(tokens)
