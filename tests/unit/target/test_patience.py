"""How long a step waits for the draft: as long as the resource says, or as the target weighs it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Many

import pytest
from outrider_serving.engine.request import SamplingParams
from outrider_serving.engine.step_time import StepTime
from outrider_serving.engine.tree import Tree
from outrider_serving.target.drafters import Ask, NoDraft
from outrider_serving.target.sequence import Sequence
from outrider_serving.target.speculation import Drafting, Speculation, SpeculationPolicy
from support.inprocess import STEP_TIME, generate, sequence_of, target_step
from support.pair import random_pair


class Recording(NoDraft):
    """A draft that never has a tree, and notes how long it was waited for."""

    available = True

    def __init__(self) -> None:
        self.waits: list[tuple[float, float]] = []

    def collect(self, asks: Many[Ask], patience_s: float, longest_s: float) -> Mapping[int, Tree]:  # noqa: ARG002
        self.waits.append((patience_s, longest_s))
        return {}


@pytest.mark.parametrize("patience_s", [0.0, 0.05])
def test_draft_patience_is_the_longest_that_a_step_waits(patience_s: float) -> None:
    drafter = Recording()
    policy = SpeculationPolicy(mode="Always", draft_patience_s=patience_s)
    generate(target_step(random_pair(0.1).target, policy, drafter), [[1, 2]], SamplingParams(max_tokens=4))
    assert drafter.waits
    assert set(drafter.waits) == {(patience_s, patience_s)}


def test_without_it_silence_is_borne_for_a_few_steps_and_a_level_each_at_most() -> None:
    drafter = Recording()
    policy = SpeculationPolicy(mode="Always", max_depth=3)
    generate(target_step(random_pair(0.1).target, policy, drafter), [[1, 2]], SamplingParams(max_tokens=4))
    assert drafter.waits
    assert all(silence_s > 0 and longest_s == silence_s * 4 for silence_s, longest_s in drafter.waits)


def test_waits_beside_prompts_that_are_read_count_too_and_end_the_asking() -> None:
    """Under load every step reads a prompt: a draft that is judged by the others alone is never judged."""
    drafter = Recording()
    step = target_step(random_pair(0.1).target, SpeculationPolicy(), drafter)
    decoding = [sequence_of(step, [1, 2], SamplingParams(max_tokens=20)) for _ in range(4)]
    speculation = Speculation(drafter, SpeculationPolicy(), StepTime(STEP_TIME))
    before_s = speculation.step_time.of(4, 4)
    assert speculation.trees(decoding, running=4).asked
    for _ in range(8):
        speculation.learn(decoding, Drafting([Tree()] * 4, True, 4, wait_s=3.0), 0, 4, work_s=None)
    assert not speculation.trees(decoding, running=4).asked
    assert speculation.step_time.of(4, 4) == before_s, "what a step takes is not learnt from a guess"


def test_a_draft_is_not_asked_for_few_of_those_that_would_wait() -> None:
    drafter = Recording()
    step = target_step(random_pair(0.1).target, SpeculationPolicy(), drafter)
    speculation = Speculation(drafter, SpeculationPolicy(), StepTime(STEP_TIME))
    decoding = [sequence_of(step, [1, 2], SamplingParams(max_tokens=20)) for _ in range(4)]
    for sequence in decoding[:3]:
        sequence.prefill_s = 1000.0  # reading these would never be earned back
    assert not speculation.trees(decoding, running=4).asked
    decoding[0].prefill_s = 0.0
    assert speculation.trees(decoding, running=4).asked


def without_the_draft(speculation: Speculation, sequence: Sequence, steps: int, tokens: int) -> None:
    """Steps that did not ask the draft, a second long, gave so many tokens each."""
    for _ in range(steps):
        sequence.tokens.extend([0] * tokens)
        speculation.learn([sequence], Drafting([Tree()]), 0, tokens, work_s=1.0)


@pytest.mark.parametrize(("tokens", "asked"), [(1, True), (3, False)])
def test_a_long_prompt_is_read_once_its_own_steps_have_shown_that_n_grams_earn_little(tokens: int, asked: bool) -> None:
    drafter = Recording()
    sequence = sequence_of(
        target_step(random_pair(0.1).target, SpeculationPolicy(), drafter), [1, 2], SamplingParams(max_tokens=101)
    )
    sequence.tokens.append(3)
    sequence.prefill_s = 36.0  # half of it for the draft; 33 s are to be saved
    speculation = Speculation(drafter, SpeculationPolicy(ngrams=False), StepTime(STEP_TIME))
    assert not speculation.trees([sequence], running=1).asked
    without_the_draft(speculation, sequence, steps=8, tokens=tokens)
    assert speculation.trees([sequence], running=1).asked == asked


def test_what_came_of_the_draft_is_not_taken_for_what_n_grams_earn() -> None:
    drafter, told_on = Recording(), [True]
    sequence = sequence_of(
        target_step(random_pair(0.1).target, SpeculationPolicy(), drafter), [1, 2], SamplingParams(max_tokens=200)
    )
    sequence.tokens.append(3)
    speculation = Speculation(drafter, SpeculationPolicy(ngrams=False), StepTime(STEP_TIME), allowed=lambda: told_on[0])
    sequence.prefill_s = 1.0
    for _ in range(8):
        assert speculation.trees([sequence], running=1).asked
        sequence.tokens.extend([4, 5, 6, 7])
        speculation.learn([sequence], Drafting([Tree()], True, 1, wait_s=0.1), 3, 4, work_s=1.0)
    told_on[0] = False
    assert not speculation.trees([sequence], running=1).asked
    without_the_draft(speculation, sequence, steps=2, tokens=1)
    told_on[0] = True
    assert speculation.trees([sequence], running=1).asked


def test_one_that_the_draft_has_not_read_earns_by_itself_beside_one_that_it_drafts() -> None:
    drafter = Recording()
    step = target_step(random_pair(0.1).target, SpeculationPolicy(), drafter)
    drafted, unread = (sequence_of(step, [1, 2], SamplingParams(max_tokens=20)) for _ in range(2))
    unread.prefill_s = 1000.0
    speculation = Speculation(drafter, SpeculationPolicy(), StepTime(STEP_TIME))
    assert speculation.trees([drafted, unread], running=2).asked
    speculation.learn([drafted, unread], Drafting([Tree()] * 2, True, 1, wait_s=5.0), 0, 2, work_s=1.0)
    assert unread.undrafted_s == 1.0, "the wait is not its own"
    assert drafted.undrafted_s == 0.0
