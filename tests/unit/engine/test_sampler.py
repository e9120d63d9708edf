"""The rule of sampling: exact samples of the target's distribution, from noise that anyone can compute again."""

from __future__ import annotations

import math

import pytest
import torch
from outrider_serving.engine.sampler import Sampling, candidates, choose, gumbel, propose

LOGITS = torch.tensor([1.0, 0.2, -0.5, 2.0, 0.0, -3.0])
SAMPLES = 20_000


def drawn(sampling: Sampling, logits: torch.Tensor = LOGITS, samples: int = SAMPLES) -> torch.Tensor:
    """Counts of the choices at many positions, all with one seed: what a long answer draws."""
    counts = torch.zeros(len(logits), dtype=torch.long)
    noise = torch.stack([gumbel(sampling.seed, position, torch.arange(len(logits))) for position in range(samples)])
    tokens, plain = candidates(logits, sampling, 0)
    weights = plain - gumbel(sampling.seed, 0, tokens)
    best = tokens[(weights + noise[:, tokens]).argmax(1)]
    return counts.scatter_add_(0, best, torch.ones_like(best))


def chi_square(counts: torch.Tensor, probabilities: torch.Tensor) -> float:
    expected = probabilities * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


# The 99.99 % quantile of chi-square with 5 degrees of freedom.
LIMIT_5 = 25.7


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
@pytest.mark.parametrize("seed", [0, -5])
def test_choices_have_the_distribution_of_the_model(temperature: float, seed: int) -> None:
    counts = drawn(Sampling(temperature, 1.0, seed))
    assert chi_square(counts, torch.softmax(LOGITS.double() / temperature, 0)) < LIMIT_5


def test_a_biased_choice_is_caught() -> None:
    counts = drawn(Sampling(1.0, 1.0, 3))
    biased = counts.clone()
    biased[3] += 500
    biased[0] -= 500
    assert chi_square(biased, torch.softmax(LOGITS.double(), 0)) > LIMIT_5


def test_top_p_keeps_the_fewest_tokens_that_reach_it() -> None:
    probabilities = torch.softmax(LOGITS.double(), 0).sort(descending=True)
    kept = candidates(LOGITS, Sampling(1.0, 0.8, 0), 0).tokens
    assert kept.tolist() == probabilities.indices[: len(kept)].tolist()
    assert float(probabilities.values[: len(kept)].sum()) >= 0.8
    assert float(probabilities.values[: len(kept) - 1].sum()) < 0.8


def test_a_flat_distribution_whose_nucleus_is_wider_than_the_guess_is_cut_right() -> None:
    kept = candidates(torch.zeros(5000), Sampling(1.0, 0.5, 0), 0).tokens
    assert len(kept) in (2500, 2501)


def test_noise_of_neighbouring_positions_and_seeds_is_independent() -> None:
    tokens = torch.arange(2000)
    base = gumbel(1, 10, tokens)
    for other in (gumbel(1, 11, tokens), gumbel(2, 10, tokens), gumbel(1, 10, tokens + 1)):
        correlation = torch.corrcoef(torch.stack([base, other]))[0, 1]
        assert abs(float(correlation)) < 4 / math.sqrt(2000)


def test_noise_of_one_token_is_the_same_alone_and_in_the_whole_vocabulary() -> None:
    whole = gumbel(9, 4, torch.arange(152_000))
    assert gumbel(9, 4, torch.tensor([151_999])) == whole[151_999]
    assert bool(torch.isfinite(whole).all())


def test_greedy_takes_the_first_of_the_most_probable() -> None:
    assert choose(torch.tensor([0.0, 5.0, 5.0]), Sampling(0.0, 1.0, 0), 3).token == 1


def test_near_ties_are_those_within_the_rounding_of_the_dtype() -> None:
    logits = torch.tensor([20.0, 19.8, 3.0])
    assert choose(logits.bfloat16(), Sampling(0.0, 1.0, 0), 0).near_tie
    assert not choose(logits, Sampling(0.0, 1.0, 0), 0).near_tie


def test_a_draft_with_the_targets_distribution_proposes_its_choice_first() -> None:
    for temperature in (0.0, 1.0):
        for position in range(200):
            sampling = Sampling(temperature, 0.95, 11)
            assert propose(LOGITS, sampling, position, 4)[0][0] == choose(LOGITS, sampling, position).token
