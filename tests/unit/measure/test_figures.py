"""What two readings of the pods' real metrics come to."""

from __future__ import annotations

import pytest
from outrider_operator.measure.figures import draft_figures, target_figures
from outrider_operator.measure.growth import Ends
from outrider_serving.metrics import DraftMetrics
from prometheus_client import CollectorRegistry
from support.readings import Target, read


def busy(tokens: int, latency_s: float) -> Ends:
    """A target that makes so many tokens in 10 s, in steps of two sequences, each token after so long."""
    target = Target()
    target.step(decoded_sequences=2, decoded_tokens=1000, forward_s=100.0)
    before = target.read(0.0)
    target.step(
        decoded_sequences=tokens // 2,
        decoded_tokens=tokens,
        draft_tokens=100,
        accepted_per_position=[30, 10],
        draft_wait_s=1.0,
        forward_s=6.0,
        verify_s=2.0,
        host_s=1.0,
    )
    for _ in range(100):
        target.metrics.tokens(1, latency_s)
        target.metrics.first_token(latency_s * 10)
    target.metrics.set_load(running=2, waiting=1, kv_usage=latency_s)
    return before, target.read(10.0)


def test_a_targets_figures_are_of_the_time_between_the_readings() -> None:
    figures = target_figures([busy(tokens=500, latency_s=0.045)])
    assert (figures.running, figures.waiting) == (2, 1)
    assert figures.tokens_per_s == 50
    assert figures.tokens_per_step == 2
    assert figures.acceptance_rate == pytest.approx(0.4)
    assert figures.draft_wait_share == pytest.approx(0.1)
    assert figures.itl_p95_s == pytest.approx(0.04 + 0.95 * 0.01)  # the bucket from 40 to 50 ms
    assert figures.ttft_p95_s == pytest.approx(0.25 + 0.95 * 0.25)
    assert figures.kv_usage == pytest.approx(0.045)


def test_several_targets_are_added_before_anything_is_divided() -> None:
    slow, fast = busy(tokens=100, latency_s=0.8), busy(tokens=900, latency_s=0.045)
    figures = target_figures([slow, fast])
    assert (figures.running, figures.waiting, figures.tokens_per_s) == (4, 2, 100)
    assert figures.kv_usage == pytest.approx(0.8)
    assert figures.itl_p95_s == pytest.approx(0.75 + 0.9 * 0.25)  # 90 of the slow one's 100 are below it


def test_one_reading_has_gauges_and_no_rates() -> None:
    _, after = busy(tokens=500, latency_s=0.045)
    figures = target_figures([(after, after)])
    assert (figures.running, figures.waiting) == (2, 1)
    assert (figures.tokens_per_s, figures.tokens_per_step, figures.itl_p95_s) == (None, None, None)


def test_an_idle_target_makes_no_tokens_and_has_nothing_to_divide() -> None:
    target = Target()
    figures = target_figures([(target.read(0.0), target.read(10.0))])
    assert figures.tokens_per_s == 0
    assert (figures.acceptance_rate, figures.ttft_p95_s, figures.draft_wait_share) == (None, None, None)


def test_a_container_that_was_started_again_counts_from_zero() -> None:
    old, new = Target(), Target()
    old.step(decoded_sequences=1, decoded_tokens=100)
    new.step(decoded_sequences=1, decoded_tokens=300)
    assert target_figures([(old.read(0.0, run=0), new.read(10.0, run=1))]).tokens_per_s == 30


def test_a_drafts_figures() -> None:
    registry = CollectorRegistry()
    metrics = DraftMetrics(registry, "qwen-coder")
    before = read(registry, 0.0)
    metrics.record(sequences=3, tokens=200, forward_s=1.0)
    metrics.committed(commits=40, hits=30, unlisted=0)
    figures = draft_figures([(before, read(registry, 10.0))])
    assert (figures.sequences, figures.tokens_per_s, figures.hit_rate) == (3, 20, 0.75)
