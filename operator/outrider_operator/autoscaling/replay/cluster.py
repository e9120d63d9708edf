"""The simulated pods of both roles together: who gets a request, who carries it, which pods come and go."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from outrider_operator.autoscaling.replay.counters import Counters
from outrider_operator.autoscaling.replay.fleet import FleetSpec
from outrider_operator.autoscaling.replay.physics import Physics
from outrider_operator.autoscaling.replay.pods import Pod, Pool, Reading, State
from outrider_operator.autoscaling.replay.replica import Job, Replica


class Schedule(Protocol):
    """Calls something at a time, with that time as its last argument."""

    def __call__(self, at_s: float, what: Callable[..., None], *args: Any) -> None: ...


class Cluster:
    """Requests go to the ready target with the fewest. Drafts share all sequences evenly; a target looks at what they
    carry whenever something of its own changes, several times a second under load.
    """

    def __init__(self, fleet: FleetSpec, schedule: Schedule, ended: Callable[[Job], None]) -> None:
        self.targets = Pool("target", fleet.target.gpus)
        self.drafts = Pool("draft", fleet.draft.gpus)
        self.speculating = True
        self._fleet = fleet
        self._physics = Physics(fleet)
        self._schedule = schedule
        self._ended = ended
        self._decoding = 0
        self._prompt_tokens_per_s = 0.0
        self._held: list[Job] = []

    def begin(self, targets: int, drafts: int) -> None:
        """So many pods of each role that are ready at once."""
        for pool, replicas in ((self.targets, targets), (self.drafts, drafts)):
            pool.want(replicas, 0.0)
            for pod in pool.pods:
                pod.state, pod.started_s = State.STARTING, 0.0
                self._ready(pod, 0.0)

    def take(self, job: Job, now_s: float) -> None:
        """A request arrives. While no target is ready it is held."""
        ready = self.targets.ready
        if not ready:
            self._held.append(job)
            return
        pod = min(ready, key=lambda pod: pod.replica.load if pod.replica else 0)
        assert pod.replica is not None
        pod.replica.advance(now_s)
        pod.replica.take(job)
        self._pace(pod)

    def want(self, targets: int, drafts: int, speculate: bool, now_s: float) -> None:
        """Carries out a decision."""
        for pool, replicas in ((self.targets, targets), (self.drafts, drafts)):
            if pool.wanted != replicas:
                for pod in pool.want(replicas, now_s):
                    self._leave(pool, pod, now_s)
        self._give_gpus(now_s)
        if speculate != self.speculating:
            self.speculating = speculate
            self._pace_all(now_s)

    def drift(self, acceptance: float, now_s: float) -> None:
        """From now on another share of drafted tokens is accepted."""
        self._physics.drift(acceptance)
        self._pace_all(now_s)

    def _give_gpus(self, now_s: float) -> None:
        """To pods that wait for some, in the order in which they were made."""
        pools = (self.targets, self.drafts)
        waiting = [(pool, pod) for pool in pools for pod in pool.of(State.PENDING)]
        for pool, pod in sorted(waiting, key=lambda each: each[1].created_s):
            held = sum(each.held_gpus for each in pools)
            if self._fleet.gpus is not None and held + pool.gpus > self._fleet.gpus:
                continue
            start_s = self._fleet.target.start_s if pool is self.targets else self._fleet.draft.start_s
            pod.state, pod.started_s = State.STARTING, now_s
            self._schedule(now_s + start_s, self._ready, pod)

    def _ready(self, pod: Pod, now_s: float) -> None:
        if pod.state is not State.STARTING:
            return
        pod.state, pod.ready_s = State.READY, now_s
        if pod.role == "draft":
            self._pace_all(now_s)
            return
        pod.replica = Replica(self._fleet.target, self._physics, now_s)
        pod.readings.append(Reading(now_s, Counters()))
        held, self._held = self._held, []
        for job in held:
            self.take(job, now_s)

    def _leave(self, pool: Pool, pod: Pod, now_s: float) -> None:
        """Its Deployment gives up a pod. A target finishes what it has first; what a draft knows is only a cache."""
        if pod.replica is not None and pod.replica.load:
            pod.state = State.DRAINING
            return
        was_ready = pod.state is State.READY
        pool.end(pod, now_s)
        if was_ready and pool is self.drafts:
            self._pace_all(now_s)

    def _pace_all(self, now_s: float) -> None:
        for pod in self.targets.of(State.READY, State.DRAINING):
            if pod.replica is not None:
                pod.replica.advance(now_s)
                self._pace(pod)

    def _pace(self, pod: Pod) -> None:
        """After every change: the pod's next event, which makes void the one that was to come."""
        assert pod.replica is not None
        self._decoding += pod.replica.decoding - pod.decoding
        pod.decoding = pod.replica.decoding
        pod.version += 1
        if not pod.replica.reading:
            self._reads(pod, 0.0)
        next_s = pod.replica.pace(self._carried(), self._prompt_share())
        self._reads(pod, pod.replica.prompt_tokens_per_s)
        if next_s < math.inf:
            self._schedule(next_s, self._due, pod, pod.version)

    def _reads(self, pod: Pod, prompt_tokens_per_s: float) -> None:
        self._prompt_tokens_per_s += prompt_tokens_per_s - pod.prompt_tokens_per_s
        pod.prompt_tokens_per_s = prompt_tokens_per_s

    def _carried(self) -> int:
        """Sequences on each draft."""
        drafts = len(self.drafts.ready) if self.speculating else 0
        return max(1, math.ceil(self._decoding / drafts)) if drafts else 0

    def _prompt_share(self) -> float:
        """Of the drafts' time, that they read prompts: they read what the targets do."""
        drafts = len(self.drafts.ready)
        return self._prompt_tokens_per_s / (drafts * self._fleet.draft.prefill_tokens_per_s) if drafts else 0.0

    def _due(self, pod: Pod, version: int, now_s: float) -> None:
        if version != pod.version or pod.replica is None:
            return
        pod.replica.advance(now_s)
        for job in pod.replica.settle():
            self._ended(job)
        self._pace(pod)
        if pod.state is State.DRAINING and not pod.replica.load:
            self.targets.end(pod, now_s)
            self._give_gpus(now_s)
