"""How long a step waits for the draft: as long as the resource says, or as the target weighs it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Many

import pytest
from outrider_serving.engine.request import SamplingParams
from outrider_serving.engine.step_time import StepTime
from outrider_serving.engine.tree import Tree
from outrider_serving.target.drafters import Ask, NoDraft
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
