"""What an autoscaler reads of a target: the figures that say what it can bear."""

from __future__ import annotations

import pytest
from outrider_serving.draft.level_time import LevelTime
from outrider_serving.engine.step_time import KNOTS_TOKENS, StepTime
from outrider_serving.metrics import DraftMetrics, TargetMetrics
from prometheus_client import CollectorRegistry


class Scraped:
    """A registry, read as a scrape reads it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def value(self, name: str, **labels: str) -> float:
        found = self.registry.get_sample_value(f"outrider_{name}", {"model_name": "R", **labels})
        assert found is not None
        return found


def test_the_fitted_curve_is_there_at_its_knots_and_is_that_of_the_scrape() -> None:
    scraped, step_time = Scraped(), StepTime([(1, 0.1), (32, 0.2)], sequence_s=0.01)
    TargetMetrics(scraped.registry, "R").follow_step_time(step_time)
    knots = [str(int(tokens)) for tokens in KNOTS_TOKENS]
    assert [scraped.value("step_time_seconds", tokens=knot) for knot in knots] == [
        pytest.approx(step_time.of(int(knot))) for knot in knots
    ]
    assert scraped.value("step_time_sequence_seconds") == pytest.approx(0.01)
    before = scraped.value("step_time_seconds", tokens="8")
    for _ in range(100):
        step_time.observe(8, 1.0)
    assert scraped.value("step_time_seconds", tokens="8") > 2 * before


def test_places_and_permission_are_told() -> None:
    scraped, allowed = Scraped(), [True]
    metrics = TargetMetrics(scraped.registry, "R")
    assert scraped.value("speculation_allowed") == 1, "unless it is told otherwise"
    metrics.set_places(16, 512)
    metrics.follow_permission(lambda: allowed[0])
    assert (scraped.value("max_num_seqs"), scraped.value("speculation_allowed")) == (16, 1)
    allowed[0] = False
    assert scraped.value("speculation_allowed") == 0


def test_the_draft_tells_what_a_level_takes() -> None:
    scraped, levels = Scraped(), LevelTime(StepTime([(1, 0.01)], sequence_s=0.002))
    DraftMetrics(scraped.registry, "R").follow_levels(levels)
    assert scraped.value("draft_level_seconds") == pytest.approx(0.01)
    assert scraped.value("draft_level_sequence_seconds") == pytest.approx(0.002)
    for _ in range(300):
        levels.observe(1, 0.05)
    assert scraped.value("draft_level_seconds") == pytest.approx(0.05, rel=0.1)
