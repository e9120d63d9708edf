"""What the pods of a model said over a minute, as the autoscaler has it."""

from __future__ import annotations

import pytest
from outrider_operator.autoscaling.signals import WANTED, Readings, signals, speaking
from outrider_operator.measure.scrape import Scrape
from outrider_serving.engine.step_time import StepTime
from outrider_serving.metrics import DraftMetrics
from prometheus_client import CollectorRegistry
from support.readings import Target, read

INF = float("inf")


def target(**values: float) -> Readings:
    """A target that was read twice, a minute apart: counters from nothing to these values, gauges as they are."""
    gauges = {name: value for name, value in values.items() if not name.endswith("_total")}
    return (Scrape(0.0, 0, gauges), Scrape(60.0, 0, values))


def test_rates_of_several_targets_are_added_and_gauges_are_means_over_the_window() -> None:
    past = {"generation_tokens_total": 9000.0}  # it has served for long, and is read for half a minute
    busy = (
        Scrape(0.0, 0, {**past, "num_requests_running": 2, "kv_cache_usage_perc": 0.2}),
        Scrape(15.0, 0, {**past, "num_requests_running": 4, "kv_cache_usage_perc": 0.4}),
        Scrape(30.0, 0, {**past, "num_requests_running": 6, "kv_cache_usage_perc": 0.6, "requests_arrived_total": 60}),
    )
    idle = target(requests_arrived_total=60, kv_cache_usage_perc=0.0, num_requests_waiting=1)
    found = signals([busy, idle], [])
    assert found is not None
    assert (found.pods, found.window_s) == (2, 60)
    assert found.requests_per_s == pytest.approx(60 / 30 + 60 / 60)
    assert (found.running, found.waiting) == (4, 1)
    assert found.kv_usage == pytest.approx(0.2)


def serving(
    requests_per_s: float, running: float, since_s: float, read_since_s: float, now_s: float = 60.0, before: float = 0.0
) -> Readings:
    """Read every 15 s. since_s: of the first request of this load. before: requests that it had served until then."""

    def reading(at_s: float) -> Scrape:
        done = before + requests_per_s * max(0.0, at_s - since_s)
        counters = {
            "requests_arrived_total": done,
            "prompt_tokens_total": 100 * done,
            "generation_tokens_total": 20 * done,
        }
        return Scrape(at_s, 0, {**counters, "num_requests_running": running})

    times = (read_since_s + 15.0 * index for index in range(int((now_s - read_since_s) / 15.0) + 1))
    return tuple(map(reading, times))


def test_a_pod_that_joins_is_not_counted_on_top_of_what_the_others_did_before_it_took_a_part() -> None:
    """Two serve 4 requests/s each; 25 s ago two joined and took half, and are read since 15 s."""
    old = serving(4.0, 8.0, since_s=-1000.0, read_since_s=0.0)[:3]
    done = old[-1].values["requests_arrived_total"]
    handing_over = (*old, *serving(2.0, 4.0, since_s=35.0, read_since_s=45.0, before=done + 20.0))
    joined = serving(2.0, 4.0, since_s=35.0, read_since_s=45.0)
    found = signals([handing_over, handing_over, joined, joined], [])
    assert found is not None
    assert (found.pods, found.window_s) == (4, 60)
    assert found.requests_per_s == pytest.approx(8.0)
    assert found.prompt_tokens_per_s == pytest.approx(800.0)
    assert found.generated_tokens_per_s == pytest.approx(160.0)
    # 16 at all times: 6.4 a piece in the mean of the five readings, and 4 for 25 of 60 s.
    assert found.running == pytest.approx(2 * 6.4 + 2 * 4 * 25 / 60)


def test_after_a_restart_of_the_operator_all_were_read_as_briefly_and_count_in_full() -> None:
    found = signals([serving(4.0, 8.0, since_s=-1000.0, read_since_s=45.0)] * 2, [])
    assert found is not None
    assert (found.window_s, found.requests_per_s, found.running) == pytest.approx((15, 8.0, 16.0))


def test_a_pod_that_answers_again_after_a_silence_counts_in_full_at_once() -> None:
    again = serving(4.0, 8.0, since_s=-1000.0, read_since_s=45.0)
    found = signals([serving(4.0, 8.0, since_s=-1000.0, read_since_s=0.0), again], [])
    assert found is not None
    assert (found.requests_per_s, found.running) == pytest.approx((8.0, 16.0))


def test_a_target_that_was_read_once_is_not_in_it_and_without_any_there_is_nothing() -> None:
    once = (Scrape(0.0, 0, {"num_requests_running": 5}),)
    assert signals([once, ()], []) is None
    found = signals([once, target(num_requests_running=1)], [])
    assert found is not None
    assert (found.pods, found.running) == (1, 1)


def test_a_target_that_was_started_again_twice_within_the_window_counts_all_it_did() -> None:
    starts = tuple(
        Scrape(15.0 * index, run, {"generation_tokens_total": tokens})
        for index, (run, tokens) in enumerate([(0, 500), (0, 530), (1, 20), (2, 40), (2, 100)])
    )
    found = signals([starts], [])
    assert found is not None
    assert found.generated_tokens_per_s == pytest.approx((30 + 20 + 40 + 60) / 60)


def test_a_counter_that_fell_began_anew_even_where_no_restart_was_told() -> None:
    fell = tuple(
        Scrape(15.0 * index, 0, {"prompt_tokens_total": tokens}) for index, tokens in enumerate([900, 10, 1000])
    )
    found = signals([fell], [])
    assert found is not None
    assert found.prompt_tokens_per_s == pytest.approx((10 + 990) / 30)


def test_what_a_real_targets_steps_come_to() -> None:
    pod = Target()
    before = pod.read(0.0)
    # Ten sequences' steps: 8 trees of 2 levels and 6 nodes, whose paths were accepted to depth 1, and half to depth 2.
    pod.step(
        goodput_gain=1.4,
        decoded_sequences=10,
        decoded_tokens=22,
        drafts=8,
        draft_tokens=48,
        draft_levels=16,
        accepted_per_position=[8, 4],
        draft_wait_s=1.0,
        forward_s=3.0,
    )
    for _ in range(100):
        pod.metrics.tokens(1, 0.045)
    found = signals([(before, pod.read(60.0))], [])
    assert found is not None
    assert found.path_acceptance == (1.0, 0.5)
    assert found.nodes_per_depth == 3
    assert found.tokens_per_step == pytest.approx(2.2)
    assert found.acceptance_rate == pytest.approx(0.25)
    assert found.gain == pytest.approx(1.4)
    assert found.draft_wait_share == pytest.approx(0.25)
    assert found.itl_p95_s == pytest.approx(0.04 + 0.95 * 0.01)
    assert found.itl_mean_s == pytest.approx(0.045)
    assert found.ttft_p95_s is None


def test_quantiles_are_over_all_that_was_observed_in_the_window_and_nothing_before() -> None:
    def pod(*counts: float) -> Readings:
        buckets = [dict(zip((0.1, 1.0, INF), each, strict=True)) for each in ((90, 100, 100), counts)]
        return tuple(
            Scrape(60.0 * index, 0, {}, {"time_to_first_token_seconds": each}) for index, each in enumerate(buckets)
        )

    found = signals([pod(100, 110, 110), pod(100, 190, 190)], [])
    assert found is not None
    # 20 of 100 within 0.1 s, the others within 1 s.
    assert found.ttft_p95_s == pytest.approx(0.1 + 0.9 * 75 / 80)


def test_the_step_times_of_targets_are_averaged_at_every_width_that_one_has_fitted() -> None:
    one = target(**{"step_time_seconds{1}": 0.02, "step_time_seconds{101}": 0.12, "step_time_sequence_seconds": 0.002})
    two = target(**{"step_time_seconds{1}": 0.04, "step_time_seconds{51}": 0.14})
    found = signals([one, two], [])
    assert found is not None
    assert found.step_time is not None
    assert dict(found.step_time.curve) == pytest.approx({1.0: 0.03, 51.0: (0.07 + 0.14) / 2, 101.0: (0.12 + 0.24) / 2})
    assert found.step_time.sequence_s == pytest.approx(0.001)
    assert found.step_time.prefill_token_s == pytest.approx((0.18 - 0.03) / 100)


def test_a_token_of_a_prompt_costs_what_the_step_grows_by_up_to_a_chunk() -> None:
    curve = {"step_time_seconds{1}": 0.02, "step_time_seconds{256}": 0.071, "step_time_seconds{4096}": 9.0}
    found = signals([target(max_batched_tokens=200, **curve)], [])
    assert found is not None
    assert found.chunk_tokens == 200
    assert found.step_time is not None
    assert found.step_time.prefill_token_s == pytest.approx(0.051 / 255)


@pytest.mark.parametrize("label", ["0", "-1", "x", "nan", "inf"])
def test_a_width_that_is_none_takes_nothing_from_the_others(label: str) -> None:
    odd = target(**{"step_time_seconds{1}": 0.02, f"step_time_seconds{{{label}}}": 0.5})
    found = signals([odd, target(**{"step_time_seconds{1}": 0.04})], [])
    assert found is not None
    assert found.step_time is not None
    assert dict(found.step_time.curve) == pytest.approx({1.0: 0.03})


def test_targets_that_have_fitted_nothing_have_no_step_time() -> None:
    found = signals([target()], [])
    assert found is not None
    assert (found.step_time, found.draft_time, found.gain) == (None, None, None)
    assert (found.path_acceptance, found.nodes_per_depth) == ((), 1.0)


def test_the_gain_is_of_those_targets_that_generate() -> None:
    idle = target(speculation_goodput_gain=3.0, generation_tokens_total=0)
    busy = target(speculation_goodput_gain=1.2, generation_tokens_total=300)
    busier = target(speculation_goodput_gain=1.5, generation_tokens_total=600)
    found = signals([idle, busy, busier], [])
    assert found is not None
    assert found.gain == pytest.approx(1.4)


def test_drafts_are_busy_for_the_share_of_time_in_which_they_compute() -> None:
    registry = CollectorRegistry()
    metrics = DraftMetrics(registry, "qwen-coder")
    before = read(registry, 0.0)
    metrics.record(sequences=3, tokens=200, forward_s=30.0)
    busy = (before, read(registry, 60.0))
    idle = (Scrape(0.0, 0), Scrape(60.0, 0, {"draft_level_seconds": 0.003, "draft_level_sequence_seconds": 0.001}))
    found = signals([target()], [busy, idle])
    assert found is not None
    assert found.draft_busy == pytest.approx(0.25)
    assert found.draft_time is not None
    assert (found.draft_time.level_s, found.draft_time.sequence_s) == (0.003, 0.001)


def test_who_speaks_with_whom_is_what_the_targets_last_said() -> None:
    allowed = target(speculation_allowed=1, draft_connected=2)
    stopped = target(speculation_allowed=0, draft_connected=0, draft_incompatible=1)
    older = target(draft_connected=1)
    found = speaking([allowed, stopped, older, ()])
    assert (found.targets, found.allowed, found.connected, found.refusing) == (3, 2, 2, 1)


def test_all_that_signals_are_made_of_is_kept_of_a_page() -> None:
    """Of a real target's page, and so no misspelt name."""
    pod = Target()
    pod.step(decoded_sequences=1, drafts=1, accepted_per_position=[1])
    pod.metrics.rejected()
    pod.metrics.follow_step_time(StepTime([(1, 0.01)]))
    exported = pod.read(0.0)
    draft = CollectorRegistry()
    DraftMetrics(draft, "qwen-coder")
    there = {*exported.values, *exported.buckets, *read(draft, 0.0).values}
    assert WANTED - there == set()
