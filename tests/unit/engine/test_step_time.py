"""What a forward is believed to take, after hours of steps that each took a little more or less."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outrider_serving.engine.step_time import KNOTS_TOKENS, StepTime

# A draft of 0.5B on a CPU with a matrix unit: tokens, seconds.
MEASURED = [(1, 0.057), (8, 0.058), (16, 0.060), (17, 0.075), (32, 0.078), (64, 0.11), (256, 0.35)]
STEPS = 20_000


def curve(step_time: StepTime, sequences: int) -> list[float]:
    return [step_time.of(int(tokens), sequences) for tokens in KNOTS_TOKENS]


@pytest.mark.parametrize("sequences", [1, 8, 32])
def test_steps_that_are_all_of_one_width_move_no_other_however_many_they_are(sequences: int) -> None:
    step_time, noise = StepTime(MEASURED, 0.001), random.Random(sequences)
    before, usual_s = curve(step_time, sequences), step_time.of(sequences, sequences)
    for _ in range(STEPS):
        step_time.observe(sequences, usual_s * noise.lognormvariate(0.0, 0.3), sequences)
    assert curve(step_time, sequences) == pytest.approx(before, rel=0.2)


def test_a_stall_every_thirty_steps_makes_no_width_seem_dear_that_is_not_seen() -> None:
    step_time = StepTime(MEASURED)
    for step in range(STEPS):
        step_time.observe(1, 0.2 if step % 30 == 0 else 0.057)
    assert step_time.of(4) / step_time.of(1) == pytest.approx(1.0, abs=0.1)


def test_a_width_that_was_seen_when_all_was_slower_does_not_hold_up_what_is_believed_of_wider_ones() -> None:
    step_time = StepTime(MEASURED)
    for _ in range(100):
        step_time.observe(4, 0.3)
    for _ in range(200):
        step_time.observe(32, 0.1)
    assert step_time.of(32) == pytest.approx(0.1, rel=0.02)
    assert step_time.of(4) <= step_time.of(32)


def test_widths_side_by_side_that_take_very_different_times_spoil_no_other() -> None:
    step_time, noise = StepTime(MEASURED), random.Random(0)
    before = curve(step_time, 1)
    for _ in range(STEPS):
        tokens, seconds = noise.choice([(20, 0.10), (24, 0.07), (31, 0.06), (32, 0.08)])
        step_time.observe(tokens, seconds * noise.lognormvariate(0.0, 0.1))
    after = curve(step_time, 1)
    assert after[:5] == pytest.approx(before[:5], rel=0.2)
    assert after[7:] == pytest.approx(before[7:], rel=0.2)
    assert after[5:7] == pytest.approx([0.076, 0.076], rel=0.15)


SEEN = st.tuples(st.integers(1, 5000), st.floats(1e-6, 1e3), st.integers(1, 300))


@given(st.lists(SEEN, max_size=200))
def test_whatever_is_seen_more_tokens_never_take_less_and_none_take_nothing(seen: list[tuple[int, float, int]]) -> None:
    step_time = StepTime(MEASURED, 0.001)
    for tokens, seconds, sequences in seen:
        step_time.observe(tokens, seconds, sequences)
    believed_s = step_time.predict(np.arange(1.0, 5000.0, 7.0))
    assert np.isfinite(believed_s).all()
    assert believed_s[0] > 0
    assert (np.diff(believed_s) >= 0).all()
    assert step_time.sequence_s > 0
