"""What the autoscaler is told of simulated pods."""

from __future__ import annotations

from dataclasses import replace

import pytest
from outrider_operator.autoscaling.observation import Signals
from outrider_operator.autoscaling.replay.fleet import FleetSpec
from outrider_operator.autoscaling.replay.trace import Request
from unit.operator.replay.replays import FLEET, READS_AT_ONCE, Scripted, accepting, replayed, same, steady


def signals_of(scaler: Scripted, at_s: float) -> Signals:
    found = scaler.signals[at_s]
    assert found is not None
    return found


def at_rest(fleet: FleetSpec = FLEET, drafts: int = 1, targets: int = 1) -> Signals:
    """After five minutes of one request a second, 800 prompt tokens and 100 of an answer each."""
    scaler = steady(targets, drafts)
    replayed(same(330, 800, 100, every_s=1.0), scaler, fleet, start=targets)
    return signals_of(scaler, 300.0)


def test_rates_are_those_of_the_trace() -> None:
    signals = at_rest()
    assert signals.window_s == pytest.approx(60.0)
    assert signals.requests_per_s == pytest.approx(1.0, rel=0.05)
    assert signals.prompt_tokens_per_s == pytest.approx(800.0, rel=0.05)
    assert signals.generated_tokens_per_s == pytest.approx(100.0, rel=0.05)


def test_rates_and_loads_of_several_targets_are_added_up() -> None:
    one, two = at_rest(), at_rest(targets=2)
    assert (one.pods, two.pods) == (1, 2)
    assert two.requests_per_s == pytest.approx(one.requests_per_s, rel=0.05)
    assert two.max_sequences == 64


def test_running_is_what_littles_law_says() -> None:
    """Half a second of answers and a tenth of reading, once a second."""
    signals = at_rest(accepting(0.0))
    assert signals.running == pytest.approx(99 * 0.0203 + 0.1, abs=0.6)
    assert signals.waiting == 0


def test_the_mean_time_between_tokens_is_a_step_s_over_its_tokens() -> None:
    """Alone, and beside a chunk of a prompt for a tenth of the time."""
    signals = at_rest(accepting(0.0))
    assert signals.itl_mean_s is not None
    assert 0.0203 <= signals.itl_mean_s < 0.0203 * 1.3
    assert signals.chunk_tokens == FLEET.target.chunk_tokens


def test_acceptance_is_counted_by_depth_and_with_the_noise_of_counting() -> None:
    signals = at_rest()
    assert len(signals.path_acceptance) > 2
    for depth, share in enumerate(signals.path_acceptance[:3], 1):
        assert share == pytest.approx(0.8**depth, abs=0.03)
    assert signals.tokens_per_step == pytest.approx(1 + sum(signals.path_acceptance), rel=0.05)
    assert signals.gain is not None
    assert signals.gain > 1.5


def test_without_a_draft_nothing_is_accepted_and_nothing_gained() -> None:
    signals = at_rest(drafts=0)
    assert signals.path_acceptance == ()
    assert (signals.draft_time, signals.draft_busy, signals.acceptance_rate) == (None, None, None)
    assert signals.gain == pytest.approx(1.0)
    assert signals.tokens_per_step == pytest.approx(1.0)


def test_where_no_tree_pays_acceptance_is_measured_all_the_same() -> None:
    trace = [Request(index * 0.001, 1, 3000) for index in range(64)]
    scaler = steady(1, drafts=1)
    replayed(trace, scaler, accepting(0.3, fleet=READS_AT_ONCE))
    signals = signals_of(scaler, 60.0)
    assert signals.tokens_per_step == pytest.approx(1.0, rel=0.01), "but for the first, when there were few"
    assert signals.path_acceptance[0] == pytest.approx(0.3, abs=0.05)


def test_the_draft_says_how_busy_it_is() -> None:
    signals, shared = at_rest(), at_rest(drafts=2)
    assert signals.draft_busy is not None
    assert shared.draft_busy is not None
    assert 0.05 < signals.draft_busy < 0.9
    assert shared.draft_busy < signals.draft_busy
    assert signals.draft_time is not None
    assert signals.draft_time.of(1) == pytest.approx(0.00152, rel=0.1)


def test_the_fitted_step_is_near_the_true_one_but_not_the_same() -> None:
    signals = at_rest()
    assert signals.step_time is not None
    for tokens in (1, 16, 64):
        measured, true_s = signals.step_time.of(tokens), FLEET.target.forward_s(tokens)
        assert measured == pytest.approx(true_s, rel=0.15)
        assert measured != true_s
    assert signals.step_time.prefill_token_s == pytest.approx(1 / 8000, rel=0.2)
    seconds = [second for _, second in signals.step_time.curve]
    assert seconds == sorted(seconds)


def test_latencies_are_quantiles_of_buckets() -> None:
    signals = at_rest(accepting(0.0))
    assert signals.ttft_p95_s is not None
    assert signals.itl_p95_s is not None
    assert 0.1 < signals.ttft_p95_s <= 0.25
    assert 0.02 < signals.itl_p95_s <= 0.1


def test_a_target_that_has_just_started_is_not_told_of() -> None:
    scaler = Scripted((0.0, 1, 1, True), (30.0, 2, 1, True))
    fleet = replace(FLEET, target=replace(FLEET.target, start_s=29.0))
    replayed(same(200, 800, 50, every_s=1.0), scaler, fleet)
    assert (scaler.seen[60.0].target.ready, signals_of(scaler, 60.0).pods) == (2, 1)
    assert signals_of(scaler, 75.0).pods == 2


def test_a_target_that_joins_takes_its_part_of_the_load_and_brings_none() -> None:
    """Four requests a second all the while; a second target is ready at 59 s."""
    scaler = Scripted((0.0, 1, 1, True), (30.0, 2, 1, True))
    fleet = replace(FLEET, target=replace(FLEET.target, start_s=29.0))
    replayed(same(600, 800, 50, every_s=0.25), scaler, fleet)
    told = [signals_of(scaler, at_s) for at_s in (75.0, 90.0, 105.0)]
    assert [each.pods for each in told] == [2, 2, 2]
    for each in told:
        assert each.requests_per_s == pytest.approx(4.0, rel=0.05)
        assert each.prompt_tokens_per_s == pytest.approx(3200.0, rel=0.05)


def test_the_kv_pool_is_as_full_as_requests_have_reserved() -> None:
    trace = [Request(0.0, 1000, 3000), Request(0.0, 1000, 3000)]
    scaler = steady(1)
    replayed(trace, scaler, accepting(0.0))
    assert signals_of(scaler, 45.0).kv_usage == pytest.approx(8000 / 400_000)
