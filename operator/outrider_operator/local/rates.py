"""What two readings of the metrics say about the time between them. Pure."""

from dataclasses import dataclass

from outrider_operator.measure.growth import increase, per_second, quantile
from outrider_operator.measure.scrape import Scrape

ITL_QUANTILE = 0.95


@dataclass(frozen=True)
class TargetRates:
    """A target over one window; None where nothing was there to measure."""

    running: int
    waiting: int
    total: int  # requests of this process that ended, run or wait
    tokens_per_s: float
    tokens_per_step: float | None  # accepted tokens per step of a sequence, the target's own (bonus) token included
    itl_p95_s: float | None
    gain: float | None  # goodput with speculation over without; 1 = nothing earned


@dataclass(frozen=True)
class DraftRates:
    """A draft over one window; None where nothing was there to measure."""

    sequences: int
    tokens_per_s: float
    levels_per_s: float
    hit_rate: float | None  # share of commits that the tree had foreseen


def target_rates(before: Scrape, after: Scrape) -> TargetRates:
    """The row of a target."""
    running = int(after.values.get("num_requests_running", 0))
    waiting = int(after.values.get("num_requests_waiting", 0))
    return TargetRates(
        running=running,
        waiting=waiting,
        total=int(after.values.get("requests_total", 0)) + running + waiting,
        tokens_per_s=per_second(before, after, "generation_tokens_total"),
        tokens_per_step=_tokens_per_step(before, after),
        itl_p95_s=quantile(before, after, "inter_token_latency_seconds", ITL_QUANTILE),
        gain=after.value("speculation_goodput_gain"),
    )


def draft_rates(before: Scrape, after: Scrape) -> DraftRates:
    """The row of a draft."""
    commits = increase(before, after, "draft_commits_total")
    hits = increase(before, after, "draft_commit_hits_total")
    return DraftRates(
        sequences=int(after.values.get("draft_sequences", 0)),
        tokens_per_s=per_second(before, after, "draft_tokens_total"),
        levels_per_s=per_second(before, after, "draft_levels_total"),
        hit_rate=hits / commits if commits > 0 else None,
    )


def _tokens_per_step(before: Scrape, after: Scrape) -> float | None:
    steps = increase(before, after, "decode_sequence_steps_total")
    return increase(before, after, "decode_tokens_total") / steps if steps > 0 else None
