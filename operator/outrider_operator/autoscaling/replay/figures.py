"""What a replay comes to: attainment, latencies, GPU-hours; as a whole and by minute. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from outrider_operator.autoscaling.replay.fleet import Slo
from outrider_operator.autoscaling.replay.replica import Job
from outrider_operator.autoscaling.replay.simulation import Outcome, Sample

MINUTE_S = 60.0


@dataclass(frozen=True)
class Latencies:
    """Of first tokens, and of requests' mean times between tokens. None: that share of requests did not get so far."""

    ttft_p50_s: float | None
    ttft_p95_s: float | None
    ttft_p99_s: float | None
    itl_p50_s: float | None
    itl_p95_s: float | None


@dataclass(frozen=True)
class Figures:
    """slo: share of all requests within both goals. late: share over the goal of the first token, those included that
    never ended. slow: share that ended over the goal of further tokens. unended: requests. flips: how often the
    policy told the targets to speculate or not to. changes: of targets asked for. tokens_per_step: of one sequence.
    """

    requests: int
    slo: float
    late: float
    slow: float
    unended: int
    latencies: Latencies
    gpu_hours: float
    target_gpu_hours: float
    draft_gpu_hours: float
    targets_mean: float
    targets_most: int
    drafts_mean: float
    tokens_per_step: float | None
    flips: int
    changes: int


@dataclass(frozen=True)
class Minute:
    """Of the requests that arrived in it. slo: None where none did. targets, drafts: that were ready at its end."""

    minute: int
    requests_per_s: float
    prompt_tokens_per_s: float
    slo: float | None
    latencies: Latencies
    targets: int
    drafts: int
    targets_wanted: int
    drafts_wanted: int
    speculate: bool


def within(job: Job, slo: Slo) -> bool:
    """Its first token came in time, and the others every so often on average. What never ended is not."""
    return job.ttft_s is not None and job.itl_s is not None and job.ttft_s <= slo.ttft_s and job.itl_s <= slo.itl_s


def figures(outcome: Outcome, slo: Slo) -> Figures:
    jobs, counted = outcome.jobs, outcome.counted
    return Figures(
        requests=len(jobs),
        slo=_share(within(job, slo) for job in jobs),
        late=_share(job.end_s is None or job.ttft_s is None or job.ttft_s > slo.ttft_s for job in jobs),
        slow=_share(job.itl_s is not None and job.itl_s > slo.itl_s for job in jobs),
        unended=sum(job.end_s is None for job in jobs),
        latencies=latencies(jobs),
        gpu_hours=outcome.target_gpu_hours + outcome.draft_gpu_hours,
        target_gpu_hours=outcome.target_gpu_hours,
        draft_gpu_hours=outcome.draft_gpu_hours,
        targets_mean=_mean(outcome, lambda sample: sample.targets_ready),
        targets_most=max(sample.targets_ready for sample in outcome.samples),
        drafts_mean=_mean(outcome, lambda sample: sample.drafts_ready),
        tokens_per_step=counted.decoded_tokens / counted.sequence_steps if counted.sequence_steps else None,
        flips=sum(change.before.speculate != change.decision.speculate for change in outcome.changes),
        changes=sum(change.before.targets != change.decision.target_replicas for change in outcome.changes),
    )


def minutes(outcome: Outcome, slo: Slo) -> list[Minute]:
    """One after another, to the end of the replay."""
    count = math.ceil(outcome.end_s / MINUTE_S)
    arrived: list[list[Job]] = [[] for _ in range(count)]
    for job in outcome.jobs:
        arrived[int(job.request.arrival_s // MINUTE_S)].append(job)
    return [_minute(index, jobs, outcome, slo) for index, jobs in enumerate(arrived)]


def _minute(index: int, jobs: Sequence[Job], outcome: Outcome, slo: Slo) -> Minute:
    until_s = (index + 1) * MINUTE_S
    sample = [each for each in outcome.samples if each.at_s <= until_s][-1]
    return Minute(
        minute=index,
        requests_per_s=len(jobs) / MINUTE_S,
        prompt_tokens_per_s=sum(job.request.prompt_tokens for job in jobs) / MINUTE_S,
        slo=_share(within(job, slo) for job in jobs) if jobs else None,
        latencies=latencies(jobs),
        targets=sample.targets_ready,
        drafts=sample.drafts_ready,
        targets_wanted=sample.wanted.targets,
        drafts_wanted=sample.wanted.drafts,
        speculate=sample.wanted.speculate,
    )


def latencies(jobs: Sequence[Job]) -> Latencies:
    firsts = [job.ttft_s for job in jobs]
    # One token has no time between tokens.
    further = [job.itl_s for job in jobs if job.request.generated_tokens > 1]
    return Latencies(
        quantile(firsts, 0.5),
        quantile(firsts, 0.95),
        quantile(firsts, 0.99),
        quantile(further, 0.5),
        quantile(further, 0.95),
    )


def quantile(values: Sequence[float | None], q: float) -> float | None:
    """The smallest value that a share of q does not exceed. None counts as more than any number."""
    ranked = sorted(math.inf if value is None else value for value in values)
    if not ranked:
        return None
    found = ranked[max(0, math.ceil(q * len(ranked)) - 1)]
    return None if found == math.inf else found


def _share(answers: Iterable[bool]) -> float:
    known = list(answers)
    return sum(known) / len(known)


def _mean(outcome: Outcome, of: Callable[[Sample], int]) -> float:
    """Over time: each sample holds until the next."""
    ends_s = [sample.at_s for sample in outcome.samples[1:]] + [outcome.end_s]
    held = zip(outcome.samples, ends_s, strict=True)
    return sum(of(sample) * (end_s - sample.at_s) for sample, end_s in held) / outcome.end_s
