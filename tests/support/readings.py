"""The real metrics of targets and drafts, read as their pods would answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from outrider_operator.measure.scrape import Scrape, parse_scrape
from outrider_serving.metrics import TargetMetrics
from prometheus_client import CollectorRegistry, generate_latest

NOTHING_DONE = dict.fromkeys(
    (
        *("prompt_tokens", "preemptions", "prefix_queries", "prefix_hits", "decoded_tokens", "first_tokens"),
        *(
            "decoded_sequences",
            "drafts",
            "draft_tokens",
            "draft_levels",
            "near_ties",
            "tolerated",
            "asked",
            "tree_hits",
        ),
        *("draft_wait_s", "forward_s", "verify_s", "host_s"),
    ),
    0,
)


class Target:
    """A target's own metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = TargetMetrics(self.registry, "qwen-coder")

    def step(self, goodput_gain: float = 1.0, draft_gain: float = 1.0, **done: Any) -> None:
        report = SimpleNamespace(**{**NOTHING_DONE, "accepted_per_position": [], **done})
        self.metrics.record(report, goodput_gain, draft_gain)

    def read(self, at_s: float, run: int = 0) -> Scrape:
        return read(self.registry, at_s, run)


def read(registry: CollectorRegistry, at_s: float, run: int = 0) -> Scrape:
    return parse_scrape(generate_latest(registry).decode(), at_s, run)
