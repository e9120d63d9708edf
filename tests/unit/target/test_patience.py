"""How long a step waits for the draft: as long as the resource says, or as the target weighs it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Many

import pytest
from outrider_serving.engine.request import SamplingParams
from outrider_serving.engine.tree import Tree
from outrider_serving.target.drafters import Ask, NoDraft
from outrider_serving.target.speculation import SpeculationPolicy
from support.inprocess import generate, target_step
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
