"""What two readings of the metrics say about the time between them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from outrider_operator.local.scrape import Scrape

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


def increase(before: Scrape, after: Scrape, name: str) -> float:
    """How much a counter grew. After a restart all of it is growth, even where it has passed the old one."""
    now = after.values.get(name, 0.0)
    then = before.values.get(name, 0.0)
    return now if before.run != after.run or now < then else now - then


def per_second(before: Scrape, after: Scrape, name: str) -> float:
    """A counter's growth by second of the window; 0 for a window of no length."""
    elapsed_s = after.at_s - before.at_s
    return increase(before, after, name) / elapsed_s if elapsed_s > 0 else 0.0


def quantile(before: Scrape, after: Scrape, name: str, q: float) -> float | None:
    """The q-quantile of what a histogram observed in the window; None when nothing was observed."""
    return quantile_of(grown_buckets(before, after, name), q)


def grown_buckets(before: Scrape, after: Scrape, name: str) -> dict[float, float]:
    """What each bucket of a histogram grew by, cumulative as the buckets are. After a restart all of it is growth."""
    now = after.buckets.get(name, {})
    then = before.buckets.get(name, {})
    if before.run != after.run or any(now.get(bound, 0.0) < count for bound, count in then.items()):
        then = {}
    return {bound: count - then.get(bound, 0.0) for bound, count in now.items()}


def quantile_of(buckets: Mapping[float, float], q: float) -> float | None:
    """The q-quantile of cumulative buckets, interpolated within one; None when they hold nothing.

    What lies above the last finite bound counts as it, as in Prometheus.
    """
    grown = sorted(buckets.items())
    if not grown or grown[-1][1] <= 0:
        return None
    rank = q * grown[-1][1]
    lower_bound, lower_count = 0.0, 0.0
    for bound, count in grown:
        if count >= rank and count > lower_count:
            if bound == float("inf"):
                return lower_bound
            return lower_bound + (bound - lower_bound) * (rank - lower_count) / (count - lower_count)
        lower_bound, lower_count = bound, count
    return lower_bound


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
