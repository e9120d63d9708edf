"""Figures of a replay, and which of several is the best."""

from __future__ import annotations

from dataclasses import replace

import pytest
from outrider_operator.autoscaling.policy import Bounds, Policy
from outrider_operator.autoscaling.replay.contest import AS_GOOD, Contest, Result, best_of
from outrider_operator.autoscaling.replay.figures import figures, minutes, quantile, within
from outrider_operator.autoscaling.replay.fleet import FleetSpec, Slo, TargetSpec
from outrider_operator.autoscaling.replay.replica import Job
from outrider_operator.autoscaling.replay.start import start_replicas
from outrider_operator.autoscaling.replay.trace import Request
from unit.operator.replay.replays import FLEET, READS_AT_ONCE, Scripted, accepting, replayed, same, steady

SLO = Slo(ttft_s=2.0, itl_s=0.05)


def job(ttft_s: float | None, itl_s: float = 0.01, tokens: int = 11) -> Job:
    made = Job(Request(5.0, 100, tokens))
    if ttft_s is not None:
        made.first_s = 5.0 + ttft_s
        made.end_s = made.first_s + itl_s * (tokens - 1)
    return made


def test_both_goals_have_to_be_met_and_what_never_ends_is_missed() -> None:
    assert within(job(1.9, 0.049), SLO)
    assert not within(job(2.1, 0.049), SLO)
    assert not within(job(1.9, 0.051), SLO)
    assert not within(job(None), SLO)
    half = job(1.0)
    half.end_s = None
    assert not within(half, SLO)
    assert within(job(1.0, tokens=1), SLO), "one token has no time between tokens"


def test_a_quantile_is_the_value_that_so_many_do_not_exceed() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.95)) == (50.0, 95.0)
    assert quantile([], 0.5) is None
    assert quantile([1.0, None], 0.5) == 1.0
    assert quantile([1.0, None], 0.95) is None, "the slow half has no number"


def test_requests_that_never_end_count_as_missed() -> None:
    """64 places, an hour each: those that run and the one that waits are not done two minutes after the last."""
    outcome = replayed(same(65, 1, 200_000), steady(1, speculate=False), accepting(0.0, fleet=READS_AT_ONCE))
    of = figures(outcome, SLO)
    assert (of.slo, of.unended, of.requests) == (0.0, 65, 65)
    assert of.late == 1.0
    assert of.latencies.itl_p95_s is None


def test_flips_changes_and_means_are_of_what_was_decided() -> None:
    script = (0.0, 1, 1, True), (60.0, 2, 1, False), (120.0, 2, 1, True), (240.0, 1, 0, False)
    quick = replace(FLEET, target=TargetSpec(start_s=30.0))
    of = figures(replayed(same(37, 100, 10, every_s=10.0), Scripted(*script), quick), SLO)
    assert (of.flips, of.changes, of.targets_most) == (3, 2, 2)
    # Ready from 90 to 240 of 480 seconds; seen at the next reading.
    assert of.targets_mean == pytest.approx(1 + (240 - 90) / 480, abs=0.04)
    assert of.drafts_mean == pytest.approx(240 / 480, abs=0.04)
    assert of.gpu_hours == pytest.approx(of.target_gpu_hours + of.draft_gpu_hours)


def test_minutes_hold_every_request_once() -> None:
    outcome = replayed(same(30, 100, 10, every_s=10.0), steady(1, drafts=1))
    found = minutes(outcome, SLO)
    assert [minute.requests_per_s for minute in found] == [0.1] * 5 + [0.0] * 2
    assert [minute.slo for minute in found] == [1.0] * 5 + [None] * 2
    assert {minute.targets for minute in found} == {1}


def result(slo: float, gpu_hours: float) -> Result:
    outcome = replayed(same(1, 100, 10), steady(1))
    return Result("hpa", "", outcome, replace(figures(outcome, SLO), slo=slo, gpu_hours=gpu_hours))


def test_the_best_is_the_cheapest_of_those_that_are_as_good() -> None:
    good, cheaper, worse = result(0.99, 10.0), result(0.99 - AS_GOOD / 2, 8.0), result(0.97, 1.0)
    assert best_of([good, cheaper, worse]) is cheaper


def contest(trace: list[Request], fleet: FleetSpec = FLEET, most: int = 8) -> Contest:
    policy = Policy(target=Bounds(1, most), draft=Bounds(0, most), ttft_p95_s=2.0, itl_p95_s=0.05)
    return Contest(trace, fleet, policy, start=1, seed=1)


def test_in_hindsight_it_is_the_fewest_that_are_as_good() -> None:
    """Twenty prompts of a second each, at once: within two seconds when two of them are a target's."""
    trace = same(20, 8000, 1)
    assert contest(trace, most=16).best_fixed(1.0).setting == "10 targets"
    assert contest(trace, most=16).best_fixed(0.5).setting == "5 targets"
    assert contest(trace, most=4).best_fixed(1.0).setting == "4 targets", "the best there is"
    assert contest(same(2, 100, 10), most=16).best_fixed(1.0).setting == "1 target"


def test_what_is_asked_for_at_once_has_to_start_first() -> None:
    """A prompt of a second and a half each second for ten minutes: two targets bear that, and one falls behind."""
    fight = contest(same(600, 12000, 1, every_s=1.0))
    asked = fight.at_once(2)
    assert [asked.outcome.samples[at].targets_ready for at in (0, -1)] == [1, 2]
    assert asked.figures.slo < fight.fixed(2).figures.slo
    assert fight.best_at_once(asked.figures.slo).setting == "2 targets at once"
    assert fight.best_at_once(0.0).setting == "1 target at once", "never fewer than it starts with"


def test_at_the_fall_all_are_asked_for_and_until_then_it_is_outrider() -> None:
    """Ten minutes of a request each two seconds, which one target bears."""
    fight = contest(same(300, 800, 50, every_s=2.0), accepting(0.8, 0.3), most=8)
    ours, asked = fight.outrider(), fight.at_fall()
    [change] = asked.outcome.changes[len(ours.outcome.changes) :]
    assert change.at_s == 285.0, "the last look before 299 s"
    assert (change.before.targets, change.decision.target_replicas) == (1, 8)
    assert asked.outcome.changes[:-1] == ours.outcome.changes


def test_every_policy_begins_with_as_many() -> None:
    fight = replace(contest(same(40, 800, 50, every_s=2.0)), start=3)
    for found in (fight.hpa(0.7), fight.kpa(0.7), fight.outrider()):
        first = found.outcome.samples[0]
        assert (first.targets_ready, first.drafts_ready) == (3, 3)
    assert fight.fixed(2).outcome.samples[0].targets_ready == 2


def test_the_start_is_what_the_first_minutes_need() -> None:
    """A prompt of a second each second is one target's whole time."""
    trace = same(600, 8000, 1, every_s=1.0)
    assert start_replicas(trace, FLEET, 1.0, most=8) == 2, "its one token comes on top"
    assert start_replicas(trace, FLEET, 0.7, most=8) == 2
    assert start_replicas(trace, FLEET, 0.3, most=8) == 4
    assert start_replicas(trace, FLEET, 0.1, most=8) == 8
    assert start_replicas(same(1, 10, 10), FLEET, 0.7, most=8) == 1
