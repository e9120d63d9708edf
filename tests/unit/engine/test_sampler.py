"""The rule of sampling: exact samples of the target's distribution, from noise that anyone can compute again."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from outrider_serving.engine.noise import complement_below, gumbel, gumbel_of, hashed
from outrider_serving.engine.sampler import candidates, choose, propose
from outrider_serving.engine.sampling import Sampling

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


@pytest.mark.long
@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
@pytest.mark.parametrize("seed", [0, -5])
def test_choices_have_the_distribution_of_the_model(temperature: float, seed: int) -> None:
    counts = drawn(Sampling(temperature, 1.0, seed))
    assert chi_square(counts, torch.softmax(LOGITS.double() / temperature, 0)) < LIMIT_5


@pytest.mark.long
def test_a_biased_choice_is_caught() -> None:
    counts = drawn(Sampling(1.0, 1.0, 3))
    biased = counts.clone()
    biased[3] += 500
    biased[0] -= 500
    assert chi_square(biased, torch.softmax(LOGITS.double(), 0)) > LIMIT_5


def test_top_p_keeps_the_fewest_tokens_that_reach_it() -> None:
    probabilities = torch.softmax(LOGITS.double(), 0).sort(descending=True)
    kept = candidates(LOGITS, Sampling(1.0, 0.8, 0), 0).tokens
    assert set(kept.tolist()) == set(probabilities.indices[: len(kept)].tolist())
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


# What is below makes the choice fast must not change it: the rule is written out, and both are compared.

SIZES = (1, 2, 100, 700, 20_000)
shapes = st.sampled_from(["flat", "two values", "narrow", "wide", "peaked", "bfloat16"])
rules = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 5e-324, 1e-46, 1e-6, 1e-5, 0.05, 0.5, 1.0, 3.0]),
    top_p=st.sampled_from([1e-6, 0.5, 0.95, 1.0]),
    seed=st.integers(-(2**63), 2**63),
    top_k=st.sampled_from([0, 1, 3, 50, 5000]),
    min_p=st.sampled_from([0.0, 0.05, 1.0]),
)


def row(shape: str, size: int, seed: int) -> torch.Tensor:
    normal = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    if shape == "bfloat16":
        return (normal * 4).bfloat16()
    scaled = {"flat": normal * 0, "two values": normal.sign(), "narrow": normal * 0.3, "wide": normal * 8}
    return scaled.get(shape, torch.where(normal > 2.5, normal * 10, normal))


def written_out(logits: torch.Tensor, sampling: Sampling, position: int) -> int:
    """The rule over a whole sorted vocabulary, in float64."""
    values, tokens = logits.double().sort(descending=True, stable=True)
    if sampling.greedy:
        return int(tokens[0])
    scaled = values / sampling.temperature
    size = min(sampling.top_k or len(values), len(values))
    probabilities = torch.softmax(scaled[:size], 0)
    kept = (probabilities.cumsum(0) - probabilities < sampling.top_p) | (torch.arange(size) == 0)
    if sampling.top_p == 1:
        kept[:] = True
    kept &= probabilities >= sampling.min_p * probabilities[0]
    weights = scaled[:size] + gumbel(sampling.seed, position, tokens[:size])
    return int(tokens[:size][weights.masked_fill(~kept, -math.inf).argmax()])


@settings(max_examples=300, deadline=None)
@given(shape=shapes, size=st.sampled_from(SIZES), sampling=rules, position=st.integers(0, 10_000))
def test_a_choice_is_that_of_the_rule_written_out(shape: str, size: int, sampling: Sampling, position: int) -> None:
    logits = row(shape, size, position)
    assert choose(logits, sampling, position).token == written_out(logits, sampling, position)


@settings(max_examples=100, deadline=None)
@given(shape=shapes, size=st.sampled_from(SIZES), sampling=rules, position=st.integers(0, 10_000))
def test_a_draft_proposes_the_choices_in_order_with_their_beliefs(
    shape: str, size: int, sampling: Sampling, position: int
) -> None:
    logits = row(shape, size, position)
    proposed = propose(logits, sampling, position, 4)
    assert proposed[0][0] == choose(logits, sampling, position).token
    weights = candidates(logits, sampling, position).weights
    exact = (weights.sort(descending=True).values - torch.logsumexp(weights, 0))[:4]
    # The bound that stands for the noise of the others makes a belief a little too small.
    assert [belief for _, belief in proposed] == pytest.approx(exact.tolist(), abs=0.2)


def test_the_bound_on_noise_holds_over_the_whole_hash() -> None:
    edges = torch.tensor([-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 2, 2**31 - 1], dtype=torch.int32)
    around = (2**31 - 1 - torch.logspace(0, 31, 400, base=2).long()).clamp(-(2**31), 2**31 - 1).int()
    hashes = torch.cat([edges, around, hashed(torch.arange(200_000, dtype=torch.int32), 3, 4)])
    bound = -complement_below(hashes.clone()).double().log()
    assert bool((gumbel_of(hashes) <= bound * (1 + 1e-6)).all())
