"""The operator while it leads: kopf's watches in front, the queue behind them, reconcile at the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import kopf
import structlog

from outrider_operator.autoscaling.loop import Loop
from outrider_operator.autoscaling.pages import Pages
from outrider_operator.autoscaling.prometheus import Address, Prometheus
from outrider_operator.autoscaling.scraper import Scraper
from outrider_operator.autoscaling.source import Source
from outrider_operator.handlers import (
    LOOKED_AT,
    MANAGED,
    OTHERS,
    WATCHED,
    Watcher,
    register,
    register_looked_at,
    settings,
)
from outrider_operator.kube.client import Kube
from outrider_operator.kube.discovery import optional_apis
from outrider_operator.kube.errors import KubeError
from outrider_operator.kube.kinds import POD, SPECULATIVE_MODEL, Kind
from outrider_operator.metrics import OperatorMetrics, ScalingMetrics
from outrider_operator.reconcile.queue import Again, WorkQueue
from outrider_operator.reconcile.reconcile import Reconciler
from outrider_operator.reconcile.store import Key, Store, spec_of
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.pod import Object

log = structlog.get_logger()

Login = Callable[..., Awaitable[kopf.ConnectionInfo]]

WORKERS = 8
# Every model is looked at once in so long even if nothing was heard of it: a watch may have lost what it should have
# told. Without a difference that costs no call.
RESYNC_S = 600.0
# How soon a Route, say, is made after its API has come to the cluster.
REDISCOVER_S = 30.0
# How soon models are, after their CRD has come.
RESOURCE_S = 1.0


class Controller:
    """Everything between the watches and the API server, for one term of leadership."""

    def __init__(
        self,
        kube: Kube,
        platform: Platform,
        metrics: OperatorMetrics,
        scaling_metrics: ScalingMetrics,
        queue: WorkQueue[Key],
        login: Login,
        prometheus: Address | None = None,
    ) -> None:
        """prometheus: where the pods' figures are read; None: from the pods themselves."""
        self._metrics = metrics
        self._scaling_metrics = scaling_metrics
        self._prometheus = prometheus
        self._store = Store()
        self._queue = queue
        self._kube = kube
        self._reconciler = Reconciler(self._kube, self._store, platform, lambda: datetime.now(UTC))
        self._registry = kopf.OperatorRegistry()
        kopf.on.login(id="login", registry=self._registry)(login)
        self._watcher = Watcher(self._store, self._queue)
        register(self._registry, self._watcher)
        self._told_to_end = asyncio.Event()
        kopf.on.cleanup(id="cleanup", registry=self._registry)(self._end)

    async def _end(self, **_: object) -> None:
        """kopf, told to end, waits five seconds for every task of the process, ours too, before it cancels them."""
        self._told_to_end.set()

    async def run(self, namespaces: Collection[str], identity: str) -> None:
        """Until cancelled or told to end (SIGTERM, which kopf takes). No namespaces: all of the cluster. identity: of
        this process, among kopf's. Made by kopf it would have the user's name, and a pod's UID has none.
        """
        await self._resource_served()
        watching = kopf.operator(
            registry=self._registry,
            identity=cast("Any", identity),  # kopf's own type is not among what it exports
            settings=settings(clusterwide=not namespaces),
            clusterwide=not namespaces,
            namespaces=namespaces,
            standalone=True,
        )
        await self._discover()
        looked_at = await self._looked_at(namespaces)
        register_looked_at(self._registry, self._watcher, looked_at)
        async with self._source() as (source, pages):
            loop = Loop(
                self._kube,
                self._store,
                self._queue,
                self._scaling_metrics,
                source,
                pages,
                sees_pods=POD in looked_at,
            )
            await _until_one_ends(
                watching,
                self._queue.run(self._work, WORKERS),
                self._resync(looked_at, namespaces),
                self._rediscover(),
                loop.run(),
                self._told_to_end.wait(),
            )

    async def _resource_served(self) -> None:
        """Waits until the server has the resource. One that has just started lists no CRDs for a second or two, and
        kopf, which looks once, would then watch no model for as long as it leads.
        """
        told = False
        while not await _patiently(lambda: self._kube.serves(SPECULATIVE_MODEL)):
            if not told:
                log.warning("resource not served", resource=SPECULATIVE_MODEL.plural, remedy="kubectl apply -f crds/")
            told = True
            await asyncio.sleep(RESOURCE_S)

    async def _looked_at(self, namespaces: Collection[str]) -> list[Kind]:
        """What scaling looks at, as far as it may. What the rights do not cover it does without."""
        allowed = []
        for kind in LOOKED_AT:
            if await _patiently(partial(self._kube.may_list, kind, namespaces)):
                allowed.append(kind)
            else:
                log.warning("not looked at", resource=kind.plural, remedy="let the operator get, list and watch them")
        return allowed

    @contextlib.asynccontextmanager
    async def _source(self) -> AsyncIterator[tuple[Source, Pages]]:
        async with Pages() as pages:
            if self._prometheus is None:
                yield Scraper(pages, self._scaling_metrics.read), pages
                return
            async with Prometheus(self._prometheus, self._scaling_metrics.read) as prometheus:
                yield prometheus, pages

    async def _work(self, key: Key) -> Again | None:
        started = time.monotonic()
        before = self._store.model(key)
        again = await self._guarded(key)
        result = "ok" if again is None else "failed" if again.failed else "waiting"
        self._metrics.reconciled(result, time.monotonic() - started)
        self._metrics.knows(len(self._store.models))
        if again is not None and again.failed and self._changed_since(before, key):
            return Again(0.0)  # what failed was the spec before, and the backoff is that one's
        return again

    def _changed_since(self, before: Object | None, key: Key) -> bool:
        after = self._store.model(key)
        return before is not None and after is not None and spec_of(before) != spec_of(after)

    async def _guarded(self, key: Key) -> Again | None:
        """One model that nobody has thought of must not end the operator for all others."""
        try:
            return await self._reconciler.reconcile(key, self._queue.failures(key))
        except Exception as error:
            log.error("reconcile raised", namespace=key.namespace, model=key.name, error=_where(error))
            try:
                await self._reconciler.say_failed(key, _where(error))
            except Exception as another:
                log.error("status not written", namespace=key.namespace, model=key.name, error=_where(another))
            return Again(0.0, failed=True)

    async def _rediscover(self) -> None:
        while True:
            await asyncio.sleep(REDISCOVER_S)
            if await self._discover():
                for key in self._store.models:
                    self._queue.add(key)

    async def _discover(self) -> bool:
        """Whether the cluster serves other APIs than it did."""
        platform = self._reconciler.platform
        served = await optional_apis(self._kube, platform.optional_apis)
        self._reconciler.platform = replace(platform, optional_apis=served)
        return served != platform.optional_apis

    async def _resync(self, looked_at: Collection[Kind], namespaces: Collection[str]) -> None:
        while True:
            await asyncio.sleep(RESYNC_S)
            await self._drop_lost([SPECULATIVE_MODEL, *WATCHED, *looked_at], namespaces)
            for key in self._store.models:
                self._queue.add(key, random.uniform(0, RESYNC_S / 10))

    async def _drop_lost(self, kinds: Iterable[Kind], namespaces: Collection[str]) -> None:
        """Forgets what has gone while a watch was cut: a new watch does not tell."""
        for kind in kinds:
            known = self._store.known(kind)
            if not known:
                continue
            try:
                there = await self._kube.names(kind, namespaces, "" if kind in OTHERS else MANAGED)
            except KubeError as error:
                log.warning("not looked at", resource=kind.plural, error=str(error))
                continue
            self._store.drop(kind, {each for each in known if (each.namespace, each.name) not in there})


async def _patiently(call: Callable[[], Awaitable[bool]]) -> bool:
    """What the call gives once the server answers it. A term that ended at a failure would begin again at once."""
    wait_s = RESOURCE_S
    while True:
        try:
            return await call()
        except KubeError as error:
            log.warning("asked again", error=str(error), in_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, REDISCOVER_S)


def _where(error: Exception) -> str:
    """Type and place. Its text may hold anything that an object holds."""
    [frame] = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"


async def _until_one_ends(*all_parts: Coroutine[object, object, object]) -> None:
    """Runs all until one has ended, and raises what that one raised."""
    parts = [asyncio.create_task(part) for part in all_parts]
    try:
        ended, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        for part in ended:
            part.result()
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
