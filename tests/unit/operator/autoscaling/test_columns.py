"""The measured columns of the status: as people read them, and written only when they say something new."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outrider_operator.api.duration import parse_duration_ms
from outrider_operator.api.v1alpha1 import Status
from outrider_operator.autoscaling.columns import columns, duration, noticeable
from outrider_operator.autoscaling.observation import Signals

MEASURED = Signals(
    window_s=60,
    pods=1,
    requests_per_s=1,
    prompt_tokens_per_s=1,
    generated_tokens_per_s=1,
    running=1,
    waiting=0,
    kv_usage=0.1,
    max_sequences=8,
    tokens_per_step=2.4137,
    gain=1.3333,
    acceptance_rate=0.4801,
    ttft_p95_s=0.3149,
    itl_p95_s=0.0834,
)


def test_what_was_measured_is_rounded_as_people_read_it() -> None:
    assert columns(MEASURED) == {
        "acceptanceRate": 0.48,
        "acceptedTokensPerStep": 2.41,
        "goodputGain": 1.33,
        "ttftP95": "310ms",
        "itlP95": "83ms",
    }


def test_what_was_not_measured_is_not_there() -> None:
    assert columns(None) == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0834, "83ms"), (1.26, "1.3s"), (0.9996, "1s"), (0.0095, "9.5ms"), (0.00042, "420us"), (320.0, "320s")],
)
def test_durations_have_two_digits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(1e-6, 1e5))
def test_every_duration_is_one_that_the_resource_takes_and_is_near(seconds: float) -> None:
    text = duration(seconds)
    assert Status.model_validate({"itlP95": text}).itl_p95 == text
    assert parse_duration_ms(text) / 1000 == pytest.approx(seconds, rel=0.06, abs=1e-6)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"goodputGain": 1.3}, {"goodputGain": 1.35}, False),
        ({"goodputGain": 1.3}, {"goodputGain": 1.5}, True),
        ({"itlP95": "980ms"}, {"itlP95": "1s"}, False),
        ({"itlP95": "83ms"}, {"itlP95": "120ms"}, True),
        ({"acceptanceRate": 0.0}, {"acceptanceRate": 0.0}, False),
        ({}, {"acceptanceRate": 0.5}, True),
        ({"acceptanceRate": 0.5}, {}, True),
    ],
)
def test_only_what_somebody_would_notice_is_told(
    before: dict[str, object], after: dict[str, object], told: bool
) -> None:
    assert noticeable(before, after) is told
