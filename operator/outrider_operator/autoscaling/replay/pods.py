"""The simulated pods of one role, from asked for to gone."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from outrider_operator.autoscaling.observation import Pods
from outrider_operator.autoscaling.pods import HOPELESS_AFTER
from outrider_operator.autoscaling.replay.counters import Counters
from outrider_operator.autoscaling.replay.replica import Replica


class State(Enum):
    """Pending: no GPU is free for it. Draining: it answers what it has, and gets nothing new."""

    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    ENDED = "ended"


@dataclass(slots=True, eq=False)
class Pod:
    """started_s: since when it holds GPUs. replica: of a target that is ready. readings: its counters by time, as far
    back as the window of the signals. decoding, prompt_tokens_per_s: its
    sequences and its reading when it was paced last. version: of its pace; an event of an older one is void.
    """

    role: str
    number: int
    created_s: float
    state: State = State.PENDING
    started_s: float | None = None
    ready_s: float | None = None
    ended_s: float | None = None
    replica: Replica | None = None
    readings: deque[Reading] = field(default_factory=deque)
    decoding: int = 0
    prompt_tokens_per_s: float = 0.0
    version: int = 0

    def held_s(self, until_s: float) -> float:
        """How long it has held its GPUs, start-up and draining included."""
        if self.started_s is None:
            return 0.0
        return (until_s if self.ended_s is None else self.ended_s) - self.started_s


@dataclass(frozen=True, slots=True)
class Reading:
    """A target's metrics at one moment."""

    at_s: float
    counters: Counters
    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0


class Pool:
    """All pods of a role. It says which come and go; what that means for requests is the cluster's."""

    def __init__(self, role: str, gpus: int) -> None:
        """gpus: of each pod."""
        self.role = role
        self.gpus = gpus
        self.wanted = 0
        self.pods: list[Pod] = []
        self.ended: list[Pod] = []
        self._made = 0

    def of(self, *states: State) -> list[Pod]:
        return [pod for pod in self.pods if pod.state in states]

    @property
    def ready(self) -> list[Pod]:
        return self.of(State.READY)

    @property
    def held_gpus(self) -> int:
        return self.gpus * len(self.of(State.STARTING, State.READY, State.DRAINING))

    def observed(self, now_s: float) -> Pods:
        """As the operator counts them."""
        coming = self.of(State.PENDING, State.STARTING)
        hopeless_s = HOPELESS_AFTER.total_seconds()
        stuck = sum(pod.state is State.PENDING and now_s - pod.created_s > hopeless_s for pod in coming)
        return Pods(wanted=self.wanted, ready=len(self.ready), starting=len(coming) - stuck, stuck=stuck)

    def want(self, replicas: int, now_s: float) -> list[Pod]:
        """Makes pods that are missing, and gives those that are too many: as a ReplicaSet does, first those that are
        not ready, and of each kind the youngest.
        """
        self.wanted = replicas
        there = self.of(State.PENDING, State.STARTING, State.READY)
        for _ in range(replicas - len(there)):
            self._made += 1
            self.pods.append(Pod(self.role, self._made, now_s))
        order = (State.PENDING, State.STARTING, State.READY)
        there.sort(key=lambda pod: (order.index(pod.state), -pod.number))
        return there[: max(0, len(there) - replicas)]

    def end(self, pod: Pod, now_s: float) -> None:
        pod.state, pod.ended_s = State.ENDED, now_s
        self.pods.remove(pod)
        self.ended.append(pod)

    def gpu_hours(self, until_s: float) -> float:
        """Of all its pods, also those that are gone."""
        return self.gpus * sum(pod.held_s(until_s) for pod in [*self.ended, *self.pods]) / 3600
