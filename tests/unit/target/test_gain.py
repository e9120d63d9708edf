"""What speculation earns, and what of that is the draft's."""

from __future__ import annotations

import pytest
from outrider_serving.engine.request import SamplingParams
from outrider_serving.engine.step_time import StepTime
from outrider_serving.engine.tree import Tree
from outrider_serving.target.drafters import NoDraft
from outrider_serving.target.speculation import Drafting, Speculation, SpeculationPolicy
from support.inprocess import sequence_of, target_step
from support.pair import random_pair

STEP_S = 1.0
PAIR = random_pair(0.1)
ONE = [sequence_of(target_step(PAIR.target, SpeculationPolicy()), [1, 2, 3], SamplingParams(max_tokens=8))]


def gains(drafting: Drafting, tokens: int) -> tuple[float, float]:
    """Of all and of the draft, after many steps that each give so many tokens in the time of a plain one."""
    speculation = Speculation(NoDraft(), SpeculationPolicy(), StepTime(((1, STEP_S), (64, STEP_S))))
    for _ in range(3000):
        speculation.learn(ONE, drafting, draft_tokens=0, tokens=tokens, work_s=STEP_S - drafting.wait_s)
    return speculation.goodput_gain, speculation.draft_gain


def test_a_draft_is_paid_what_ngrams_would_not_have_earned() -> None:
    drafted = Drafting([Tree()], asked=True, answered=1, other_gain=1.5)
    assert gains(drafted, tokens=3) == pytest.approx((3.0, 2.0), rel=0.01)


def test_what_comes_without_the_draft_is_not_its_own() -> None:
    assert gains(Drafting([Tree()], other_gain=1.5), tokens=3) == pytest.approx((3.0, 1.0), rel=0.01)


def test_ngrams_that_earn_nothing_take_nothing_from_the_draft() -> None:
    """Mode Always verifies them even where plain decoding would be faster."""
    drafted = Drafting([Tree()], asked=True, answered=1, other_gain=0.5)
    assert gains(drafted, tokens=3) == pytest.approx((3.0, 3.0), rel=0.01)
