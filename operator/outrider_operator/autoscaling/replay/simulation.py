"""One replay: a trace, a fleet and a policy, event by event. Deterministic, and without a clock of its own."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from outrider_operator.autoscaling.decision import Decision
from outrider_operator.autoscaling.observation import Observation
from outrider_operator.autoscaling.replay.cluster import Cluster
from outrider_operator.autoscaling.replay.counters import Counters
from outrider_operator.autoscaling.replay.fleet import FleetSpec
from outrider_operator.autoscaling.replay.meter import Meter
from outrider_operator.autoscaling.replay.pods import Pod
from outrider_operator.autoscaling.replay.replica import Job
from outrider_operator.autoscaling.replay.sight import Scaler, Sight
from outrider_operator.autoscaling.replay.trace import Request

SCRAPE_S = 15.0
# What a policy sees of metrics is so old when it is asked: scraping takes its time.
SCRAPE_AGE_S = 2.0
# After the last arrival, for what still runs; what has not ended by then never does.
SETTLE_S = 120.0

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Wanted:
    """What a policy has asked for."""

    targets: int
    drafts: int
    speculate: bool


@dataclass(frozen=True)
class Change:
    """A decision that changed something."""

    at_s: float
    before: Wanted
    decision: Decision


@dataclass(frozen=True)
class Sample:
    """The fleet at one moment. in_flight: requests that wait or run."""

    at_s: float
    wanted: Wanted
    targets_ready: int
    drafts_ready: int
    in_flight: int


@dataclass(frozen=True)
class Outcome:
    """Everything that came of a replay. jobs: every request, in the order of arrival. counted: by all targets."""

    jobs: Sequence[Job]
    changes: Sequence[Change]
    samples: Sequence[Sample]
    end_s: float
    counted: Counters
    target_gpu_hours: float
    draft_gpu_hours: float


def drift_s(trace: Sequence[Request]) -> float:
    """When acceptance changes, where a fleet's does: in the middle of what is replayed."""
    return trace[-1].arrival_s / 2


class Simulation:
    """start: targets and drafts that are ready at the beginning. seed: of the errors in what is measured."""

    def __init__(self, trace: Sequence[Request], fleet: FleetSpec, scaler: Scaler, start: int, seed: int) -> None:
        self._jobs = [Job(request) for request in trace]
        self._fleet = fleet
        self._scaler = scaler
        self._drift_s = drift_s(trace)
        self._end_s = trace[-1].arrival_s + SETTLE_S
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self._meter = Meter(fleet, seed)
        self._cluster = Cluster(fleet, self._at, self._ended)
        self._cluster.begin(start, start)
        self._in_flight = InFlight()
        self._changes: list[Change] = []
        self._samples: list[Sample] = []

    def run(self, progress: Progress | None = None) -> Outcome:
        """progress: told at every reading of the metrics which share of the time is over."""
        self._at(self._jobs[0].request.arrival_s, self._arrive, 0)
        self._at(SCRAPE_S - SCRAPE_AGE_S, self._scrape, progress)
        self._at(self._scaler.tick_s, self._tick)
        if self._fleet.acceptance.after is not None:
            self._at(self._drift_s, self._cluster.drift, self._fleet.acceptance.after)
        self._sample(0.0)
        while self._events[0][0] <= self._end_s:
            at_s, _, what, args = heapq.heappop(self._events)
            what(*args, at_s)
        return Outcome(
            jobs=self._jobs,
            changes=self._changes,
            samples=self._samples,
            end_s=self._end_s,
            counted=self._counted(),
            target_gpu_hours=self._cluster.targets.gpu_hours(self._end_s),
            draft_gpu_hours=self._cluster.drafts.gpu_hours(self._end_s),
        )

    def _at(self, at_s: float, what: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), what, args))

    def _arrive(self, index: int, now_s: float) -> None:
        self._in_flight.add(1, now_s)
        self._cluster.take(self._jobs[index], now_s)
        if index + 1 < len(self._jobs):
            self._at(self._jobs[index + 1].request.arrival_s, self._arrive, index + 1)

    def _ended(self, job: Job) -> None:
        assert job.end_s is not None
        self._in_flight.add(-1, job.end_s)

    def _scrape(self, progress: Progress | None, now_s: float) -> None:
        self._meter.read(self._cluster.targets.ready, now_s)
        self._sample(now_s)
        if progress is not None:
            progress(now_s / self._end_s)
        self._at(now_s + SCRAPE_S, self._scrape, progress)

    def _tick(self, now_s: float) -> None:
        decision = self._scaler.decide(self._sight(now_s), now_s)
        before = self._wanted()
        self._cluster.want(decision.target_replicas, decision.draft_replicas, decision.speculate, now_s)
        if self._wanted() != before:
            self._changes.append(Change(now_s, before, decision))
            self._sample(now_s)
        self._at(now_s + self._scaler.tick_s, self._tick)

    def _sight(self, now_s: float) -> Sight:
        cluster = self._cluster
        target, draft = cluster.targets.observed(now_s), cluster.drafts.observed(now_s)
        ready = cluster.targets.ready

        def observe() -> Observation:
            return Observation(target, draft, cluster.speculating, self._meter.signals(ready, draft.ready))

        loads = tuple(map(_load, ready))
        return Sight(target, draft, cluster.speculating, loads, self._in_flight.mean(now_s), observe)

    def _counted(self) -> Counters:
        total = Counters()
        for pod in [*self._cluster.targets.ended, *self._cluster.targets.pods]:
            if pod.replica is not None:
                pod.replica.advance(self._end_s if pod.ended_s is None else pod.ended_s)
                total.add(pod.replica.counters(), Counters())
        return total

    def _wanted(self) -> Wanted:
        return Wanted(self._cluster.targets.wanted, self._cluster.drafts.wanted, self._cluster.speculating)

    def _sample(self, now_s: float) -> None:
        ready = len(self._cluster.targets.ready), len(self._cluster.drafts.ready)
        self._samples.append(Sample(now_s, self._wanted(), *ready, self._in_flight.now))


class InFlight:
    """Requests that wait or run, and their mean over time."""

    def __init__(self) -> None:
        self.now = 0
        self._changed_s = self._since_s = 0.0
        self._area = 0.0

    def add(self, requests: int, now_s: float) -> None:
        self._area += self.now * (now_s - self._changed_s)
        self._changed_s = now_s
        self.now += requests

    def mean(self, now_s: float) -> float:
        """Since it was asked for last."""
        self.add(0, now_s)
        elapsed_s = now_s - self._since_s
        mean = self._area / elapsed_s if elapsed_s > 0 else float(self.now)
        self._area, self._since_s = 0.0, now_s
        return mean


def _load(pod: Pod) -> float | None:
    """Requests of a target at the last reading of its metrics; the first one is its start."""
    if len(pod.readings) < 2:
        return None
    return float(pod.readings[-1].running + pod.readings[-1].waiting)
