"""What the model says of a target: by hand where that can be done, by rules elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outrider_operator.autoscaling.estimate import (
    LEAST_CORRECTION,
    MOST_CORRECTION,
    Load,
    Pace,
    correction,
    tokens_per_step,
)
from outrider_operator.autoscaling.observation import DraftTime, StepTime
from unit.operator.autoscaling.world import ACCEPTED, PACE, STEP, chat

# 10 ms a step whatever is in it; 10 ms and 1 ms for each token.
FLAT = StepTime(((1, 0.010), (64, 0.010)))
STEEP = StepTime(((1, 0.011), (64, 0.074)))


def test_a_chain_gives_its_accepted_levels_and_the_targets_own_token() -> None:
    assert tokens_per_step((0.8, 0.5), 2) == pytest.approx(2.3)


def test_levels_that_were_not_measured_keep_the_share_of_the_last() -> None:
    assert tokens_per_step((0.8, 0.4), 4) == pytest.approx(1 + 0.8 + 0.4 + 0.2 + 0.1)


def test_of_one_measured_level_each_further_one_keeps_as_much() -> None:
    """The textbook's (1 - a^(d+1)) / (1 - a)."""
    assert tokens_per_step((0.8,), 5) == pytest.approx((1 - 0.8**6) / (1 - 0.8))


def test_without_anything_accepted_a_step_gives_one_token() -> None:
    assert tokens_per_step((), 5) == 1
    assert tokens_per_step((0.0, 0.0), 5) == 1


def test_where_tokens_cost_nothing_the_deepest_tree_is_the_best() -> None:
    best = Pace(FLAT, 64, targets_per_draft=0.0, path_acceptance=(0.8,), max_depth=6).best(4)
    assert best.depth == 6
    assert best.goodput == pytest.approx(4 * tokens_per_step((0.8,), 6) / 0.010)


def test_without_a_draft_every_step_is_plain() -> None:
    pace = Pace(FLAT, 64, path_acceptance=(0.9,))
    assert (pace.best(4).depth, pace.gain(4)) == (0, 1)


@pytest.mark.parametrize(("sequences", "pays"), [(1, True), (8, True), (32, False)])
def test_at_one_acceptance_a_small_batch_gains_and_a_large_one_does_not(sequences: int, pays: bool) -> None:
    """Acceptance flat at 0.88: what changes is what a further token costs."""
    compute_bound = StepTime(((1, 0.020), (32, 0.0215), (256, 0.160)))
    pace = Pace(compute_bound, 64, DraftTime(0.0015, 0.00002), 1.0, (0.88, 0.77, 0.68))
    assert (pace.gain(sequences) >= 1.05) == pays


def test_depth_three_wins_where_depth_one_loses() -> None:
    """The first drafted token makes the step dear (another kernel, say), the next two come nearly free."""
    kinked = StepTime(((1, 0.010), (2, 0.0190), (4, 0.0195), (8, 0.060)))
    pace = Pace(kinked, 64, targets_per_draft=0.0, path_acceptance=(0.85, 0.72, 0.61), max_depth=3)
    plain, one, three = (pace.speculated(depth, 1) for depth in (0, 1, 3))
    assert one.goodput < plain.goodput < three.goodput
    assert pace.best(1).depth == 3


def test_a_draft_that_cannot_keep_up_sets_the_pace() -> None:
    draft = DraftTime(0.004, 0.001)
    alone = Pace(FLAT, 64, draft, 1.0, (0.8,)).speculated(4, 2)
    shared = Pace(FLAT, 64, draft, 3.0, (0.8,)).speculated(4, 2)
    assert alone.step_s == pytest.approx(4 * (0.004 + 1 * 0.001))
    assert shared.step_s == pytest.approx(4 * (0.004 + 5 * 0.001))


def test_a_draft_that_keeps_up_costs_nothing() -> None:
    assert Pace(FLAT, 64, DraftTime(0.001), 1.0, (0.8,)).speculated(4, 2).step_s == pytest.approx(0.010)


def test_the_batch_is_what_gives_the_tokens_that_are_asked() -> None:
    """Plain steps of 10 ms + 1 ms a token, a fifth of the time for prompts: 100 tokens/s need B / (10 + B) = 0.125."""
    step = replace(STEEP, prefill_token_s=0.001)
    found = Pace(step, 64).predict(Load(2.0, 200.0, 100.0))
    assert found.batch == pytest.approx(0.125 * 10 / (1 - 0.125), abs=0.02)
    assert found.utilisation == pytest.approx(0.2 + 100 / (64 / 0.074), rel=1e-6)


def test_a_single_prompt_waits_for_nobody() -> None:
    """A step of 10 ms and 100 prompt tokens of 1 ms; three means of an exponential reach its 95 %."""
    step = replace(FLAT, prefill_token_s=0.001)
    found = Pace(step, 64, chunk_tokens=1e9).predict(Load(0.001, 0.1, 0.01))
    assert found.ttft_p95_s == pytest.approx(0.010 + math.log(20) * 0.1, rel=1e-3)


def test_the_wait_for_prompts_is_that_of_a_queue_with_one_server() -> None:
    """Half of the time reads prompts of 100 ms: the mean wait is one service, so the mean stay is two."""
    step = replace(FLAT, prefill_token_s=0.001)
    found = Pace(step, 64, chunk_tokens=1e9).predict(Load(5.0, 500.0, 0.01))
    assert found.ttft_p95_s == pytest.approx(0.010 + math.log(20) * 0.2, rel=1e-3)


def test_each_chunk_of_a_prompt_waits_for_a_step_of_those_who_decode() -> None:
    """1,024 tokens of 0.1 ms in two steps of 10 ms."""
    step = replace(FLAT, prefill_token_s=0.0001)
    found = Pace(step, 64, chunk_tokens=512.0).predict(Load(0.001, 1.024, 0.01))
    assert found.ttft_p95_s == pytest.approx(0.010 + math.log(20) * (0.1024 + 2 * 0.010), rel=1e-3)


def test_each_chunk_of_a_prompt_costs_a_step_however_little_is_generated() -> None:
    """Ten chunks a second of 51.2 ms, in ten steps of 10 ms."""
    step = replace(FLAT, prefill_token_s=0.0001)
    assert Pace(step, 64).predict(Load(1.0, 5120.0, 1.0)).utilisation == pytest.approx(0.512 + 0.1)


def test_a_short_answer_may_fall_wholly_into_the_prompts_of_others() -> None:
    """Prompts are read half of the time, 50 ms in each step beside them: one answer of two tokens has bad luck, one of
    four hundred has its share.
    """
    step = replace(FLAT, prefill_token_s=0.0001)
    pace = Pace(step, 64, chunk_tokens=500.0)
    busy = 0.5 / (0.05 + 0.010)
    short = pace.predict(Load(busy, 500 * busy, 2 * busy))
    long = pace.predict(Load(busy, 500 * busy, 400 * busy))
    assert short.itl_p95_s == pytest.approx(0.060)
    assert long.itl_p95_s < 0.060
    assert long.itl_p95_s > 1 / (0.5 / 0.060 + 0.5 / 0.010)


def test_answers_of_nothing_are_no_division_by_nothing() -> None:
    assert Pace(FLAT, 1).predict(Load(1.0, 0.0, 5e-324).over(2)).itl_p95_s == pytest.approx(0.010)


def test_more_than_a_target_can_do_has_no_end() -> None:
    for load in (Load(10.0, 9000.0, 0.0), Load(10.0, 0.0, 20_000.0), Load(10.0, 5000.0, 3000.0)):
        found = PACE.predict(load)
        assert found.utilisation >= 1
        assert found.ttft_p95_s == found.itl_p95_s == math.inf


loads = st.builds(Load, st.floats(0.01, 10), st.floats(0, 10_000), st.floats(0, 3000))
paces = st.builds(
    Pace,
    st.builds(
        lambda first, more, prompt: StepTime(((1, first), (512, first + 511 * more)), prefill_token_s=prompt),
        st.floats(0.005, 0.1),
        st.floats(0, 0.001),
        st.floats(0, 0.0005),
    ),
    st.integers(1, 256),
    st.builds(DraftTime, st.floats(0.0005, 0.02), st.floats(0, 0.001)),
    st.sampled_from([None, 0.0, 0.5, 1.0, 4.0]),
    st.lists(st.floats(0, 1), max_size=4).map(lambda path: tuple(sorted(path, reverse=True))),
    st.floats(1, 4),
)


@given(paces, loads, st.integers(1, 20))
def test_more_targets_are_never_worse(pace: Pace, load: Load, targets: int) -> None:
    fewer, more = pace.predict(load.over(targets)), pace.predict(load.over(targets + 1))
    assert more.utilisation <= fewer.utilisation
    assert more.batch <= fewer.batch + 1e-6
    assert more.ttft_p95_s <= fewer.ttft_p95_s * (1 + 1e-6)
    assert more.itl_p95_s <= fewer.itl_p95_s * (1 + 1e-6)


@given(paces, st.floats(0.1, 200))
def test_the_best_is_never_below_plain(pace: Pace, sequences: float) -> None:
    assert pace.gain(sequences) >= 1


def test_a_correction_is_the_ratio_of_both_within_limits() -> None:
    assert correction(0.6, 0.4) == pytest.approx(1.5)
    assert correction(60.0, 0.4) == MOST_CORRECTION
    assert correction(0.001, 0.4) == LEAST_CORRECTION


def test_nothing_is_corrected_by_what_is_not_known() -> None:
    assert correction(None, 0.4) == correction(0.6, math.inf) == correction(0.6, 0.0) == 1


def test_speculation_is_capacity() -> None:
    plain = Pace(STEP, 64)
    assert PACE.predict(chat(2.0)).utilisation < plain.predict(chat(2.0)).utilisation
    assert PACE.predict(chat(2.0)).itl_p95_s < plain.predict(chat(2.0)).itl_p95_s
    assert len(ACCEPTED) < PACE.max_depth


@pytest.mark.parametrize("curve", [((1, 0.03), (64, 0.031), (128, 0.01)), ((4, 0.01), (8, 0.05))])
def test_no_step_takes_no_time_however_noise_has_bent_the_curve(curve: tuple[tuple[float, float], ...]) -> None:
    bent = replace(PACE, step=StepTime(curve))
    assert all(bent.step.of(tokens) >= 0.01 for tokens in (1, 4, 128, 512, 4096))
    assert math.isfinite(bent.best(64).goodput)
    assert bent.predict(chat(1.0)).utilisation > 0
