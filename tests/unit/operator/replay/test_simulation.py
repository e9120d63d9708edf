"""Requests through simulated pods, against what can be worked out by hand."""

from __future__ import annotations

import random
from dataclasses import replace
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outrider_operator.autoscaling.replay.fleet import DraftSpec, TargetSpec
from outrider_operator.autoscaling.replay.physics import Physics
from outrider_operator.autoscaling.replay.simulation import SETTLE_S, Outcome
from outrider_operator.autoscaling.replay.trace import Request
from unit.operator.replay.replays import FLEET, READS_AT_ONCE, Scripted, accepting, replayed, same, steady

HOUR_S = 3600


def wanted(outcome: Outcome, at_s: float) -> int:
    return next(sample for sample in reversed(outcome.samples) if sample.at_s <= at_s).wanted.targets


def ready(outcome: Outcome, at_s: float) -> int:
    return next(sample for sample in reversed(outcome.samples) if sample.at_s <= at_s).targets_ready


# One target


def test_a_request_alone_reads_its_prompt_and_then_decodes() -> None:
    [job] = replayed(same(1, 4000, 101), steady(1), start=1).jobs
    assert job.ttft_s == pytest.approx(4000 / 8000)
    step = Physics(FLEET).step(1, reading=False, carried=1)
    assert job.itl_s == pytest.approx(step.seconds / step.tokens, rel=1e-3), "speculating until the first tick at 15 s"


@pytest.mark.parametrize("batch", [1, 16, 64])
def test_the_time_between_tokens_is_the_step_over_what_it_brings(batch: int) -> None:
    jobs = replayed(same(batch, 1, 201), steady(1), READS_AT_ONCE).jobs
    step = Physics(READS_AT_ONCE).step(batch, reading=False, carried=batch)
    for job in jobs:
        assert job.itl_s == pytest.approx(step.seconds / step.tokens, rel=1e-3)


def test_told_not_to_speculate_steps_are_plain() -> None:
    trace = [Request(0.0, 1, 2), *(Request(20.0, 1, 201) for _ in range(16))]
    jobs = replayed(trace, steady(1, drafts=1, speculate=False), READS_AT_ONCE).jobs[1:]
    for job in jobs:
        assert job.itl_s == pytest.approx(0.020 + 16 * 0.00015, rel=1e-3)


def test_prompts_alone_are_a_queue_with_one_server() -> None:
    """M/D/1: Poisson arrivals, each a second of reading, half of the time busy. Mean wait rho S / (2 (1 - rho))."""
    rng = random.Random(7)
    at_s, trace = 0.0, []
    for _ in range(20_000):
        at_s += rng.expovariate(0.5)
        trace.append(Request(at_s, 8000, 1))
    outcome = replayed(trace, steady(1))
    waits = [job.ttft_s - 1.0 for job in outcome.jobs if job.ttft_s is not None]
    assert len(waits) == len(trace)
    assert mean(waits) == pytest.approx(0.5 * 1.0 / (2 * 0.5), rel=0.05)


def test_beyond_its_places_requests_wait() -> None:
    jobs = replayed(same(65, 1, 101), steady(1), READS_AT_ONCE).jobs
    first_end_s = min(job.end_s for job in jobs if job.end_s is not None)
    assert [job.ttft_s < 0.01 for job in jobs if job.ttft_s is not None] == [True] * 64 + [False]
    assert jobs[64].first_s == pytest.approx(first_end_s, abs=1e-3)


def test_a_pool_that_is_full_keeps_requests_waiting() -> None:
    small = replace(FLEET, target=TargetSpec(kv_tokens=900, prefill_tokens_per_s=1e12))
    jobs = replayed(same(3, 300, 200), steady(1), small).jobs
    assert jobs[1].first_s == pytest.approx(jobs[0].end_s, abs=1e-3)
    [larger] = replayed(same(1, 3000, 200), steady(1), small).jobs
    assert larger.end_s is not None, "alone it is let in"


def test_the_draft_is_slower_the_more_it_carries() -> None:
    slow = replace(READS_AT_ONCE, draft=DraftSpec(0.001, 0.001, prefill_tokens_per_s=1e18))
    trace = [Request(0.0, 1, 2), *(Request(20.0, 1, 401) for _ in range(16))]

    def itl_s(drafts: int) -> float:
        scaler = Scripted((0.0, 2, drafts, True))
        return mean(job.itl_s or 0.0 for job in replayed(trace, scaler, slow, start=2).jobs[1:])

    assert itl_s(0) > itl_s(1) > itl_s(2)


def test_a_drift_in_the_middle_slows_the_second_half() -> None:
    trace = same(40, 1, 101, every_s=10.0)
    jobs = replayed(trace, steady(1, drafts=1), accepting(0.8, 0.3, READS_AT_ONCE)).jobs
    itls_s = [job.itl_s or 0.0 for job in jobs]
    physics = Physics(accepting(0.8))
    before = physics.step(1, reading=False, carried=1)
    physics.drift(0.3)
    after = physics.step(1, reading=False, carried=1)
    assert itls_s[1] == pytest.approx(before.seconds / before.tokens, rel=1e-3)
    assert itls_s[-1] == pytest.approx(after.seconds / after.tokens, rel=1e-3)


# Pods that come and go


def test_a_start_takes_as_long_as_it_takes() -> None:
    outcome = replayed(same(10, 100, 10, every_s=50.0), Scripted((0.0, 1, 1, True), (30.0, 2, 1, True)))
    assert (wanted(outcome, 29.0), wanted(outcome, 31.0)) == (1, 2)
    assert (ready(outcome, 30.0 + 170.0), ready(outcome, 30.0 + 195.0)) == (1, 2)


def test_a_pod_that_is_given_up_finishes_what_it_has() -> None:
    trace = [*same(2, 100, 2000), Request(40.0, 100, 10), Request(60.0, 100, 10)]
    fleet = accepting(0.0)
    outcome = replayed(trace, Scripted((0.0, 2, 2, True), (30.0, 1, 1, True)), fleet, start=2)
    assert all(job.end_s is not None for job in outcome.jobs)
    ends_s = [job.end_s or 0.0 for job in outcome.jobs[:2]]
    assert min(ends_s) > 35, "both ran when one pod was given up"
    # Both answers are as long, so the drained pod held its GPUs from 0 to the end of its one.
    assert outcome.target_gpu_hours == pytest.approx(4 * (outcome.end_s + min(ends_s)) / HOUR_S, rel=0.01)


def test_gpu_hours_add_up() -> None:
    """A target all the time; a second asked for at 30 s and given up at 60 s, while it still starts; two drafts until
    45 s, then none.
    """
    trace = [Request(0.0, 8, 2), Request(300.0, 8, 2)]
    steps = (0.0, 1, 2, True), (30.0, 2, 2, True), (45.0, 2, 0, True), (60.0, 1, 0, True)
    outcome = replayed(trace, Scripted(*steps), start=1)
    assert outcome.end_s == 300 + SETTLE_S
    assert outcome.target_gpu_hours == pytest.approx(4 * (420 + 30) / HOUR_S)
    # One from the beginning, the second from the first tick.
    assert outcome.draft_gpu_hours == pytest.approx((45 + 30) / HOUR_S)


def test_pods_without_a_gpu_stay_pending_cost_nothing_and_are_seen_as_stuck() -> None:
    trace = same(80, 100, 10, every_s=10.0)
    scaler = Scripted((0.0, 3, 1, True), (700.0, 2, 1, True))
    outcome = replayed(trace, scaler, replace(FLEET, gpus=9), start=1)
    early, late, after = scaler.seen[300.0].target, scaler.seen[690.0].target, scaler.seen[720.0].target
    assert (early.wanted, early.ready, early.starting, early.stuck) == (3, 2, 1, 0)
    assert (late.starting, late.stuck) == (0, 1)
    assert (after.wanted, after.ready, after.stuck) == (2, 2, 0), "the pending one was given up first"
    assert outcome.target_gpu_hours == pytest.approx(4 * (outcome.end_s + outcome.end_s - 15) / HOUR_S)


def test_a_pending_pod_starts_when_gpus_come_free() -> None:
    trace = same(60, 100, 10, every_s=10.0)
    scaler = Scripted((0.0, 1, 2, True), (30.0, 2, 2, True), (60.0, 2, 1, True))
    replayed(trace, scaler, replace(FLEET, gpus=9), start=1)
    assert (scaler.seen[45.0].target.ready, scaler.seen[45.0].target.starting) == (1, 1)
    assert scaler.seen[60.0 + 195.0].target.ready == 2


@settings(max_examples=40, deadline=None)
@given(
    requests=st.lists(st.tuples(st.floats(0, 200), st.integers(0, 6000), st.integers(1, 300)), min_size=1, max_size=60),
    steps=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.booleans()), min_size=1, max_size=12),
    start=st.integers(1, 3),
)
def test_no_request_is_lost_and_no_token_made_or_lost(
    requests: list[tuple[float, int, int]], steps: list[tuple[int, int, bool]], start: int
) -> None:
    """Whatever a policy does."""
    trace = [Request(*each) for each in sorted(requests)]
    script = Scripted((0.0, start, 1, True), *((15.0 * (at + 1), *step) for at, step in enumerate(steps)))
    quick = accepting(0.8, 0.3, replace(FLEET, target=TargetSpec(start_s=20.0)))
    outcome = replayed(trace, script, quick, start)
    for job in outcome.jobs:
        assert job.first_s is not None
        assert job.end_s is not None
        assert job.request.arrival_s <= job.first_s <= job.end_s
    counted = outcome.counted
    assert counted.arrived == len(trace)
    assert counted.prompt_tokens == pytest.approx(sum(each.prompt_tokens for each in trace), abs=0.01)
    assert counted.generated_tokens == pytest.approx(sum(each.generated_tokens for each in trace), abs=0.01)


# The same twice


def test_a_replay_is_the_same_again_with_the_same_seed() -> None:
    trace = same(200, 500, 50, every_s=1.0)

    def told(seed: int) -> tuple[list[float | None], list[float | None]]:
        scaler = steady(1, drafts=1)
        outcome = replayed(trace, scaler, seed=seed)
        seen = [signals.acceptance_rate for signals in scaler.signals.values() if signals]
        return [job.end_s for job in outcome.jobs], seen

    assert told(1) == told(1)
    assert told(1)[0] == told(2)[0], "the seed is of what is measured, not of what happens"
    assert told(1)[1] != told(2)[1]
