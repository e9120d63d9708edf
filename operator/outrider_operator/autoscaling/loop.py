"""The slow loop: every tick it reads all pods, decides for each model, carries that out, and says what it has measured.

It writes no status: what it has to say lies in the store, and reconcile, which writes the status, is told to look.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime

import structlog

from outrider_operator.autoscaling import timing
from outrider_operator.autoscaling.asked import Asked, asked
from outrider_operator.autoscaling.findings import unjudged, unseen
from outrider_operator.autoscaling.follow import Follower
from outrider_operator.autoscaling.observe import observe
from outrider_operator.autoscaling.pages import Pages
from outrider_operator.autoscaling.pods import SeenPod
from outrider_operator.autoscaling.source import Read, Source
from outrider_operator.kube.client import Kube
from outrider_operator.metrics import ScalingMetrics
from outrider_operator.reconcile.conditions import SCALING_ACTIVE
from outrider_operator.reconcile.measured import Measured, carried
from outrider_operator.reconcile.queue import WorkQueue
from outrider_operator.reconcile.reconcile import read
from outrider_operator.reconcile.store import Key, Store
from outrider_operator.resources.pod import Object

log = structlog.get_logger()


class Loop:
    """Of all models, for one term of leadership."""

    def __init__(
        self,
        kube: Kube,
        store: Store,
        queue: WorkQueue[Key],
        metrics: ScalingMetrics,
        source: Source,
        pages: Pages,
        *,
        sees_pods: bool = True,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """sees_pods: whether the operator has the right to list them."""
        self._store = store
        self._sees_pods = sees_pods
        self._queue = queue
        self._metrics = metrics
        self._source = source
        self._clock = clock
        self._now = now
        self._follower = Follower(kube, store, metrics, pages, now)
        self._asked: dict[str, tuple[int, Asked | None]] = {}

    async def run(self) -> None:
        """Until cancelled. A tick that takes longer than a tick is followed by the next at once."""
        try:
            while True:
                started_s = self._clock()
                await self.tick()
                took_s = self._clock() - started_s
                self._metrics.ticked(took_s)
                await asyncio.sleep(max(0.0, timing.TICK_S - took_s))
        finally:
            self._metrics.nothing_decided()

    async def tick(self) -> None:
        """Looks at every model once."""
        pods = {key: self._store.pods(key) for key in self._store.models}
        answers = await self._read([pod for of_model in pods.values() for pod in of_model if pod.readable])
        there = set()
        for key, of_model in pods.items():
            model = self._store.model(key)
            if model is None or "deletionTimestamp" in model["metadata"]:
                continue
            there.add(model["metadata"]["uid"])
            try:
                if await self._look(key, model, of_model, answers):
                    self._queue.add(key)
            except Exception:  # what one model's pods say must not keep the others from being looked at
                log.exception("not looked at", namespace=key.namespace, model=key.name)
                if self._say_failed(model):
                    self._queue.add(key)
            await asyncio.sleep(0)  # others want their turn, between many models
        self._forget(there)

    async def _read(self, pods: list[SeenPod]) -> Read:
        try:
            return await self._source.read(pods)
        except Exception as error:  # an outage of the metrics, as any other, and not the operator's end
            log.exception("not read")
            return Read(failures={pod.uid: f"not read: {type(error).__name__}" for pod in pods})

    async def _look(self, key: Key, model: Object, pods: list[SeenPod], answers: Read) -> bool:
        """Whether there is something new for the status."""
        wanted = self._wanted(model)
        if not self._sees_pods:
            return self._say_blind(model["metadata"]["uid"], wanted)
        children = self._store.owned(model["metadata"]["uid"])
        if not _told_of(children, key, pods):
            return False
        seen = observe(key, children, pods, answers, self._store, self._now())
        return await self._follower.follow(model, wanted, seen, self._clock())

    def _say_blind(self, uid: str, wanted: Asked | None) -> bool:
        """Nothing can be measured, and so nothing is decided: who asked for it is to know why."""
        before, after = self._store.measured(uid), Measured(findings=unseen(wanted))
        self._store.measure(uid, after)
        return after != before

    def _say_failed(self, model: Object) -> bool:
        """Whether that is new. Of a model that is not scaled there is nothing to say: nothing is held."""
        uid = model["metadata"]["uid"]
        _, wanted = self._asked.get(uid, (0, None))
        if wanted is None or wanted.policy is None:
            return False
        before = self._store.measured(uid) or _said(model)
        others = (each for each in before.findings if each.type != SCALING_ACTIVE)
        after = Measured(before.fields, (*others, unjudged()))
        self._store.measure(uid, after)
        return after != before

    def _wanted(self, model: Object) -> Asked | None:
        """None where the spec is not accepted."""
        uid, generation = model["metadata"]["uid"], model["metadata"]["generation"]
        known = self._asked.get(uid)
        if known is None or known[0] != generation:
            typed, _problems = read(model)
            known = self._asked[uid] = (generation, None if typed is None else asked(typed))
        return known[1]

    def _forget(self, there: AbstractSet[str]) -> None:
        """What was known of models that are gone. there: the others' uids."""
        self._asked = {uid: known for uid, known in self._asked.items() if uid in there}
        self._follower.keep(there)


def _said(model: Object) -> Measured:
    """What the status says already; nothing where that is what the loop fails at."""
    try:
        return carried(model.get("status") or {})
    except Exception:  # written by whatever was here before, and others wait for their look
        return Measured()


def _told_of(children: Iterable[Object], key: Key, pods: list[SeenPod]) -> bool:
    """Whether the watches have told of the target and of all the pods that Deployments have made. After a start they
    come one after another, and a model of which half is known looks as if it had lost the rest.
    """
    deployments = [each for each in children if each["kind"] == "Deployment"]
    made = sum((each.get("status") or {}).get("replicas", 0) for each in deployments)
    return any(each["metadata"]["name"] == f"{key.name}-target" for each in deployments) and len(pods) >= made
