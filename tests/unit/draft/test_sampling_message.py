"""What a target samples by, as the draft hears of it."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from outrider_serving.engine.sampling import LEAST_REPETITION_PENALTY, Sampling
from outrider_serving.protocol.sampling import sampling_from_message, sampling_to_message

LEAST = math.ulp(0.0)

samplings = st.builds(
    Sampling,
    temperature=st.floats(0, 2),
    top_p=st.floats(LEAST, 1),
    seed=st.integers(-(2**63), 2**63 - 1),
    top_k=st.integers(0, 2**31),
    min_p=st.floats(0, 1),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    repetition_penalty=st.floats(LEAST_REPETITION_PENALTY, 10),
    logit_bias=st.lists(st.tuples(st.integers(0, 2**20), st.floats(-100, 100)), max_size=3).map(tuple),
    min_tokens=st.integers(0, 2**40),
)


@given(samplings)
def test_whatever_a_client_may_ask_for_the_draft_understands(sampling: Sampling) -> None:
    heard = sampling_from_message(sampling_to_message(sampling))
    assert heard.seed == sampling.seed % 2**64
    assert heard.top_k == sampling.top_k
    for name in ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty"):
        assert math.isclose(getattr(heard, name), getattr(sampling, name), rel_tol=1e-6, abs_tol=1e-37)


def test_the_least_values_are_no_breach_of_the_protocol() -> None:
    least = Sampling(LEAST, LEAST, repetition_penalty=LEAST_REPETITION_PENALTY)
    assert sampling_from_message(sampling_to_message(least)).greedy
