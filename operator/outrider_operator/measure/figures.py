"""What pods and models did between two readings of their metrics. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outrider_operator.measure.growth import Ends, per_second, quantile_of_all, share

LATENCY_QUANTILE = 0.95


@dataclass(frozen=True)
class TargetFigures:
    """A target over its window, or all targets of a model. None where nothing was there to measure."""

    running: int
    waiting: int
    tokens_per_s: float | None
    tokens_per_step: float | None  # accepted tokens per step of a sequence, the target's own (bonus) token included
    acceptance_rate: float | None  # share of the verified nodes that were accepted
    ttft_p95_s: float | None
    itl_p95_s: float | None
    kv_usage: float | None  # of several: of the fullest
    draft_wait_share: float | None  # of the time of all steps


@dataclass(frozen=True)
class DraftFigures:
    """A draft over its window. None where nothing was there to measure."""

    sequences: int
    tokens_per_s: float | None
    hit_rate: float | None  # share of commits that the tree had foreseen


def target_figures(windows: Sequence[Ends]) -> TargetFigures:
    """Of one target, or of several together."""
    usages = [after.values["kv_cache_usage_perc"] for _, after in windows if "kv_cache_usage_perc" in after.values]
    return TargetFigures(
        running=_now(windows, "num_requests_running"),
        waiting=_now(windows, "num_requests_waiting"),
        tokens_per_s=_per_second(windows, "generation_tokens_total"),
        tokens_per_step=tokens_per_step(windows),
        acceptance_rate=acceptance_rate(windows),
        ttft_p95_s=ttft_p95_s(windows),
        itl_p95_s=itl_p95_s(windows),
        kv_usage=max(usages, default=None),
        draft_wait_share=draft_wait_share(windows),
    )


def tokens_per_step(pairs: Sequence[Ends]) -> float | None:
    return share(pairs, "decode_tokens_total", "decode_sequence_steps_total")


def acceptance_rate(pairs: Sequence[Ends]) -> float | None:
    return share(pairs, "spec_decode_num_accepted_tokens_total", "spec_decode_num_draft_tokens_total")


def ttft_p95_s(pairs: Sequence[Ends]) -> float | None:
    return quantile_of_all(pairs, "time_to_first_token_seconds", LATENCY_QUANTILE)


def itl_p95_s(pairs: Sequence[Ends]) -> float | None:
    return quantile_of_all(pairs, "inter_token_latency_seconds", LATENCY_QUANTILE)


def draft_wait_share(pairs: Sequence[Ends]) -> float | None:
    return share(pairs, "step_seconds_total{draft_wait}", "step_seconds_total")


def draft_figures(windows: Sequence[Ends]) -> DraftFigures:
    """Of one draft."""
    return DraftFigures(
        sequences=_now(windows, "draft_sequences"),
        tokens_per_s=_per_second(windows, "draft_tokens_total"),
        hit_rate=share(windows, "draft_commit_hits_total", "draft_commits_total"),
    )


def _now(windows: Sequence[Ends], gauge: str) -> int:
    return int(sum(after.values.get(gauge, 0.0) for _, after in windows))


def _per_second(windows: Sequence[Ends], counter: str) -> float | None:
    """None where nothing was read twice: a rate has two readings."""
    measured = [ends for ends in windows if ends[1].at_s > ends[0].at_s]
    return sum(per_second(*ends, counter) for ends in measured) if measured else None
