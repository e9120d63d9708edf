"""speculation.tolerance: off nothing changes, on it takes drafted tokens that weigh a little less, and counts them."""

from __future__ import annotations

import pytest
from outrider_serving.engine.request import SamplingParams
from outrider_serving.engine.sampler import Choice, Place, candidates, choose_at
from outrider_serving.target import choosing
from outrider_serving.target.speculation import SpeculationPolicy
from support.inprocess import HandCarried, draft_engine, generate, shape_of, target_step
from support.pair import VOCABULARY, random_pair
from torch import Tensor

PAIR = random_pair(0.4)
PROMPTS = [[5, 6, 7, 8, 5, 6], [100, 3, 4], [42]]
GREEDY = SamplingParams(max_tokens=40, temperature=0.0)
SAMPLED = SamplingParams(max_tokens=40, temperature=1.0, top_p=0.9, seed=3, frequency_penalty=0.4)


class Run:
    """What a run with a tolerance emitted, and the steps it took."""

    def __init__(self, tolerance: float, sampling: SamplingParams) -> None:
        policy = SpeculationPolicy(mode="Always", ngrams=False, tolerance=tolerance)
        drafter = HandCarried(draft_engine(PAIR.draft), shape_of(policy), VOCABULARY)
        step = target_step(PAIR.target, policy, drafter)
        self.tolerated = self.accepted = self.steps = 0
        taken = step.step

        def counted() -> object:
            report = taken()
            if report is not None:
                self.steps += 1
                self.tolerated += report.tolerated
                self.accepted += sum(report.accepted_per_position)
            return report

        step.step = counted  # type: ignore[method-assign, assignment]
        self.tokens = generate(step, PROMPTS, sampling)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_at_0_nothing_is_tolerated_and_above_it_acceptance_rises(sampling: SamplingParams) -> None:
    lossless, tolerant = Run(0.0, sampling), Run(2.0, sampling)
    assert lossless.tokens == generate(target_step(PAIR.target, SpeculationPolicy(mode="Off")), PROMPTS, sampling)
    assert lossless.tolerated == 0
    assert tolerant.tolerated > 0
    assert tolerant.accepted > lossless.accepted
    assert tolerant.steps < lossless.steps


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_what_is_tolerated_is_in_the_tree_and_within_the_tolerance(
    sampling: SamplingParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up: list[float] = []

    def watched(logits: Tensor, place: Place) -> Choice:
        choice = choose_at(logits, place)
        if choice.tolerated:
            tokens, weights = candidates(logits, place.sampling, place.position, place.edits)
            among = {int(token): float(weight) for token, weight in zip(tokens, weights, strict=True)}
            assert choice.token in place.children
            children = [among[child] for child in place.children if child in among]
            assert among[choice.token] == max(children)
            given_up.append(max(among.values()) - among[choice.token])
        return choice

    monkeypatch.setattr(choosing, "choose_at", watched)
    Run(0.7, sampling)
    assert given_up
    assert all(0 <= nats <= 0.7 for nats in given_up)
