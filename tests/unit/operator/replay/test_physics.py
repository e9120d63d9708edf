"""Steps against the formulas that they come from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outrider_operator.autoscaling.replay.counters import ITL_BOUNDS_S, TTFT_BOUNDS_S
from outrider_operator.autoscaling.replay.fleet import DraftSpec
from outrider_operator.autoscaling.replay.physics import Physics, expected_tokens
from outrider_serving.metrics import LATENCY_BUCKETS_S, LONG_BUCKETS_S
from unit.operator.replay.replays import FLEET, accepting

TARGET, DRAFT = FLEET.target, FLEET.draft


@given(st.floats(0.0, 0.99), st.integers(0, 16))
def test_a_chain_brings_what_the_formula_says(acceptance: float, depth: int) -> None:
    formula = (1 - acceptance ** (depth + 1)) / (1 - acceptance)
    assert expected_tokens(acceptance, depth) == pytest.approx(formula)


def test_a_step_without_a_draft_takes_its_base_and_its_tokens() -> None:
    step = Physics(FLEET).step(decoding=32, reading=False, carried=0)
    assert step.seconds == pytest.approx(0.020 + 32 * 0.00015)
    assert (step.tokens, step.depth, step.tree_share, step.wait_s) == (1.0, 0, 0.0, 0.0)


def test_a_chunk_of_a_prompt_lengthens_the_step() -> None:
    physics = Physics(FLEET)
    beside = physics.step(decoding=8, reading=True, carried=0)
    assert beside.seconds == pytest.approx(physics.step(8, reading=False, carried=0).seconds + 512 / 8000)
    assert beside.prompt_tokens == 512
    alone = physics.step(decoding=0, reading=True, carried=0)
    assert alone.prompt_tokens / alone.seconds == pytest.approx(8000)


@pytest.mark.parametrize("decoding", [1, 4, 16, 64])
def test_the_depth_is_the_one_of_the_best_goodput(decoding: int) -> None:
    step = Physics(accepting(0.8)).step(decoding, reading=False, carried=decoding)

    def goodput(depth: int) -> float:
        level_s = DRAFT.level_s + decoding * DRAFT.sequence_s
        return expected_tokens(0.8, depth) / max(TARGET.forward_s(decoding * (depth + 1)), depth * level_s)

    assert step.depth == max(range(9), key=goodput)
    assert step.tokens / step.seconds == pytest.approx(goodput(step.depth))


def test_what_pays_with_few_sequences_does_not_with_many() -> None:
    physics = Physics(accepting(0.3))
    few = physics.step(4, reading=False, carried=4)
    many = physics.step(64, reading=False, carried=64)
    assert (few.depth, few.tree_share) == (2, 1.0)
    assert many.tokens == 1.0
    assert (many.depth, many.tree_share) == (1, 1 / 64), "it goes on measuring, now and then"


@given(st.integers(1, 64), st.booleans(), st.integers(1, 500), st.floats(0.0, 1.0))
def test_the_fast_loop_never_loses(decoding: int, reading: bool, carried: int, acceptance: float) -> None:
    physics = Physics(accepting(acceptance))
    speculating, plain = physics.step(decoding, reading, carried), physics.step(decoding, reading, 0)
    assert speculating.tokens / speculating.seconds >= plain.tokens / plain.seconds * (1 - 1e-9)


@given(st.integers(1, 64), st.integers(1, 64), st.integers(0, 300))
def test_a_busier_draft_never_makes_the_target_faster(decoding: int, carried: int, more: int) -> None:
    physics = Physics(FLEET)
    light, heavy = physics.step(decoding, False, carried), physics.step(decoding, False, carried + more)
    assert heavy.tokens / heavy.seconds <= light.tokens / light.seconds * (1 + 1e-9)


def test_a_slow_draft_is_waited_for_only_as_long_as_it_pays() -> None:
    slow = replace(FLEET, draft=DraftSpec(level_s=0.022))
    step = Physics(slow).step(1, reading=False, carried=1)
    assert step.wait_s > 0
    assert step.seconds == pytest.approx(step.depth * 0.02202)
    useless = replace(FLEET, draft=DraftSpec(level_s=0.5))
    assert Physics(useless).step(1, reading=False, carried=1).tokens == 1.0


def test_a_draft_that_reads_prompts_has_less_time_for_trees() -> None:
    physics = Physics(FLEET)
    free, half = physics.step(8, False, 64), physics.step(8, False, 64, prompt_share=0.5)
    swamped = physics.step(8, False, 64, prompt_share=3.0)
    assert free.tokens / free.seconds > half.tokens / half.seconds > swamped.tokens / swamped.seconds
    read = physics.step(8, True, 64).draft_s - physics.step(8, True, 64).depth * DRAFT.of(64) * 8 / 64
    assert read == pytest.approx(512 / 100_000)


@given(st.integers(1, 64), st.floats(0.0, 1.0))
def test_the_gaps_are_those_of_all_tokens(decoding: int, acceptance: float) -> None:
    step = Physics(accepting(acceptance)).step(decoding, reading=False, carried=decoding)
    assert sum(share for _, share in step.gaps) == pytest.approx(1.0)


def test_a_drift_changes_the_steps() -> None:
    physics = Physics(accepting(0.8))
    before = physics.step(8, reading=False, carried=8)
    physics.drift(0.3)
    after = physics.step(8, reading=False, carried=8)
    assert (before.acceptance, after.acceptance) == (0.8, 0.3)
    assert after.tokens < before.tokens


def test_latencies_fall_into_the_same_buckets_as_the_pods_own() -> None:
    assert ITL_BOUNDS_S[:-1] == LATENCY_BUCKETS_S
    assert TTFT_BOUNDS_S[:-1] == LONG_BUCKETS_S
