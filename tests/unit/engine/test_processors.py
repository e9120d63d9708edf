"""Bias and penalties: vLLM's meaning, and the same whether tokens are committed or on a tree's path."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from outrider_serving.engine.processors import FIRST_CAPACITY, History, edited
from outrider_serving.engine.sampling import Sampling

VOCABULARY = 400
LOGITS = torch.linspace(-3, 3, VOCABULARY)

# Some come again and again, others once: more of them than a table begins with.
tokens = st.lists(st.integers(0, 11) | st.integers(0, VOCABULARY - 1), max_size=200)
rules = st.builds(
    Sampling,
    temperature=st.just(1.0),
    presence_penalty=st.sampled_from([0.0, 0.5, -2.0]),
    frequency_penalty=st.sampled_from([0.0, 0.25]),
    repetition_penalty=st.sampled_from([1.0, 1.5, 0.5]),
    logit_bias=st.dictionaries(st.integers(0, VOCABULARY + 3), st.floats(-100, 100), max_size=80).map(
        lambda biases: tuple(biases.items())
    ),
    min_tokens=st.integers(0, 6),
    end_tokens=st.sampled_from([(), (0,), (3, 11, 440)]),
)


def written_out(sampling: Sampling, prompt: list[int], output: list[int]) -> list[float]:
    """The order of vLLM's sampler: min_tokens, bias, repetition, frequency and presence."""
    values = LOGITS.tolist()
    if len(output) < sampling.min_tokens:
        for token in sampling.end_tokens:
            if token < VOCABULARY:
                values[token] = -math.inf
    for token, bias in sampling.logit_bias:
        if token < VOCABULARY:
            values[token] += bias
    for token in {*prompt, *output}:
        penalty = sampling.repetition_penalty
        values[token] = values[token] / penalty if values[token] > 0 else values[token] * penalty
    for token in set(output):
        values[token] -= sampling.frequency_penalty * output.count(token) + sampling.presence_penalty
    return values


@settings(max_examples=300, deadline=None)
@given(sampling=rules, prompt=tokens, output=tokens, path=st.lists(st.integers(0, VOCABULARY - 1), max_size=5))
def test_logits_change_as_the_request_says(
    sampling: Sampling, prompt: list[int], output: list[int], path: list[int]
) -> None:
    opened = len(output) // 2
    history = History(sampling, prompt + output[:opened], len(prompt), VOCABULARY)
    history.extend(output[opened:])
    found = edited(LOGITS[None], [history.edits(path)])[0]
    assert torch.allclose(found, torch.tensor(written_out(sampling, prompt, output + path)), atol=1e-5)


@pytest.mark.parametrize("distinct", [FIRST_CAPACITY, FIRST_CAPACITY + 1, 4 * FIRST_CAPACITY + 1])
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1.0, presence_penalty=0.5),
        Sampling(1.0, repetition_penalty=1.5),
        Sampling(1.0, logit_bias=tuple((token, -1.0) for token in range(0, VOCABULARY, 2))),
    ],
    ids=["presence", "repetition", "bias"],
)
def test_any_number_of_tokens_has_room(sampling: Sampling, distinct: int) -> None:
    prompt, output = list(range(distinct // 2)), list(range(distinct // 2, distinct))
    history = History(sampling, prompt, len(prompt), VOCABULARY)
    for token in output:
        history.extend([token])
    found = edited(LOGITS[None], [history.edits()])[0]
    assert torch.allclose(found, torch.tensor(written_out(sampling, prompt, output)), atol=1e-5)


def test_rows_are_edited_apart_and_what_came_in_stays() -> None:
    first = History(Sampling(1.0, frequency_penalty=1.0), [1, 2], 0, VOCABULARY)
    second = History(Sampling(1.0, logit_bias=((5, -100.0),)), [], 0, VOCABULARY)
    rows = LOGITS.repeat(4, 1)
    found = edited(rows, [first.edits(), None, second.edits(), first.edits([1])])
    assert torch.equal(rows, LOGITS.repeat(4, 1))
    changed = (found != rows).nonzero().tolist()
    assert changed == [[0, 1], [0, 2], [2, 5], [3, 1], [3, 2]]
    assert found[3, 1] == LOGITS[1] - 2


def test_a_request_that_changes_no_logit_costs_no_copy() -> None:
    rows = LOGITS[None]
    assert edited(rows, [None]) is rows
