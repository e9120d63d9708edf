"""What a level is said to take: a line through the last levels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outrider_serving.draft.level_time import LevelTime
from outrider_serving.engine.step_time import StepTime

# Eight rows take no longer than four; a further sequence takes 0.2 ms.
WARM_UP = StepTime([(1, 0.010), (16, 0.010)], sequence_s=0.0002)


def test_before_the_first_request_it_is_what_warm_up_measured() -> None:
    levels = LevelTime(WARM_UP)
    assert levels.level_s == pytest.approx(0.010)
    assert levels.sequence_s == pytest.approx(0.0002)


def test_one_sequence_and_each_further_are_told_apart() -> None:
    levels = LevelTime(WARM_UP)
    for index in range(400):
        sequences = (1, 4, 16)[index % 3]
        levels.observe(sequences, 0.020 + 0.001 * (sequences - 1))
    assert levels.level_s == pytest.approx(0.020, rel=0.05)
    assert levels.sequence_s == pytest.approx(0.001, rel=0.05)


def test_it_follows_a_machine_that_slows_down() -> None:
    levels = LevelTime(WARM_UP)
    for slow in (0.010, 0.030):
        for index in range(600):
            levels.observe(1 + index % 2, slow)
    assert levels.level_s == pytest.approx(0.030, rel=0.05)


def test_at_one_load_alone_the_slope_is_the_expected_one() -> None:
    levels = LevelTime(WARM_UP)
    for _ in range(2000):
        levels.observe(8, 0.020)
    assert levels.sequence_s == pytest.approx(0.0002, rel=0.05)
    assert levels.level_s + 7 * levels.sequence_s == pytest.approx(0.020, rel=0.01)


def test_a_stall_hardly_moves_it() -> None:
    levels = LevelTime(WARM_UP)
    for index in range(200):
        levels.observe(1 + index % 4, 0.010)
    before = levels.level_s
    levels.observe(1, 10.0)
    assert levels.level_s < 1.02 * before


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0.0, 10.0)), max_size=200))
def test_no_level_is_ever_said_to_take_less_than_nothing(observed: list[tuple[int, float]]) -> None:
    levels = LevelTime(WARM_UP)
    for sequences, seconds in observed:
        levels.observe(sequences, seconds)
        assert 0 <= levels.level_s < 20
        assert 0 <= levels.sequence_s < 20
