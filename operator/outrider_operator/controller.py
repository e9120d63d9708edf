"""The operator while it leads: kopf's watches in front, the queue behind them, reconcile at the end."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime

import kopf
import structlog
from kubernetes.aio.client import ApiClient

from outrider_operator.handlers import Watcher, register, settings
from outrider_operator.kube.client import Kube
from outrider_operator.kube.discovery import optional_apis
from outrider_operator.kube.errors import KubeError
from outrider_operator.metrics import OperatorMetrics
from outrider_operator.reconcile.queue import Again, WorkQueue
from outrider_operator.reconcile.reconcile import Reconciler
from outrider_operator.reconcile.store import Key, Store
from outrider_operator.resources.platform import Platform

log = structlog.get_logger()

Login = Callable[..., Awaitable[kopf.ConnectionInfo]]

WORKERS = 8
# Every model is looked at once in so long even if nothing was heard of it: a watch may have lost what it should have
# told. Without a difference that costs no call.
RESYNC_S = 600.0
# How soon a Route, say, is made after its API has come to the cluster.
REDISCOVER_S = 30.0


class Controller:
    """Everything between the watches and the API server, for one term of leadership."""

    def __init__(
        self, api: ApiClient, platform: Platform, metrics: OperatorMetrics, queue: WorkQueue[Key], login: Login
    ) -> None:
        self._metrics = metrics
        self._store = Store()
        self._queue = queue
        self._kube = Kube(api, metrics.called)
        self._reconciler = Reconciler(self._kube, self._store, platform, lambda: datetime.now(UTC))
        self._registry = kopf.OperatorRegistry()
        kopf.on.login(id="login", registry=self._registry)(login)
        register(self._registry, Watcher(self._store, self._queue))

    async def run(self, namespaces: Collection[str]) -> None:
        """Until cancelled or told to end (SIGTERM, which kopf takes). No namespaces: all of the cluster."""
        watching = kopf.operator(
            registry=self._registry,
            settings=settings(clusterwide=not namespaces),
            clusterwide=not namespaces,
            namespaces=namespaces,
            standalone=True,
        )
        await self._discover()
        parts = [
            asyncio.create_task(part)
            for part in (watching, self._queue.run(self._work, WORKERS), self._resync(), self._rediscover())
        ]
        try:
            ended, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in ended:
                part.result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def _work(self, key: Key) -> Again | None:
        started = time.monotonic()
        again = await self._reconciler.reconcile(key)
        result = "ok" if again is None else "failed" if again.failed else "waiting"
        self._metrics.reconciled(result, time.monotonic() - started)
        self._metrics.knows(len(self._store.models))
        return again

    async def _rediscover(self) -> None:
        while True:
            await asyncio.sleep(REDISCOVER_S)
            try:
                changed = await self._discover()
            except KubeError as error:
                log.warning("APIs not discovered", error=str(error))
                continue
            if changed:
                for key in self._store.models:
                    self._queue.add(key)

    async def _discover(self) -> bool:
        """Whether the cluster serves other APIs than it did."""
        platform = self._reconciler.platform
        served = await optional_apis(self._kube)
        self._reconciler.platform = replace(platform, optional_apis=served)
        return served != platform.optional_apis

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(RESYNC_S)
            for key in self._store.models:
                self._queue.add(key, random.uniform(0, RESYNC_S / 10))
