"""Who of the operator's replicas works: the one that holds a Lease. The others wait, and take over when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, V1Lease, V1ObjectMeta
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

# A leader that is killed is replaced after LEASE_S + RETRY_S at most; one that cannot renew stops before that.
LEASE_S = 12
RENEW_DEADLINE_S = 8
RETRY_S = 2
# Of one call: a server that hangs is asked again before the Lease is lost.
CALL_S = 3.0


class LeaderLost(Exception):
    """Another may be the leader by now: nothing may be written any more."""


class SteadyLock(LeaseLock):
    """A server that is away or hangs is a Lease not renewed this time: the library's own lock would end at it."""

    async def get(self, name: str, namespace: str) -> Any:
        try:
            async with asyncio.timeout(CALL_S):
                return await super().get(name, namespace)
        except (aiohttp.ClientError, OSError) as error:
            return False, ApiException(status=0, reason=f"{type(error).__name__}: {error}")

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        # The library's own gives `pretty` as a bool, which its API (37.0) refuses.
        body = V1Lease(metadata=V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        try:
            async with asyncio.timeout(CALL_S):
                await self.api_instance.create_namespaced_lease(namespace, body)
        except (ApiException, aiohttp.ClientError, OSError):
            return False
        return True

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        try:
            async with asyncio.timeout(CALL_S):
                return bool(await super().update(name, namespace, updated_record))
        except (aiohttp.ClientError, OSError):
            return False

    async def give_back(self) -> None:
        """A Lease that names nobody is free at once. Those who wait go by their own duration, not by the one written
        here. Where the server does not answer it runs out.
        """
        held, _ = await self.get(self.name, self.namespace)
        lease = self.lease_reference
        if not held or lease is None or lease.spec is None or lease.spec.holder_identity != self.identity:
            return
        lease.spec.holder_identity = None
        with contextlib.suppress(ApiException, aiohttp.ClientError, OSError):
            async with asyncio.timeout(CALL_S):
                await self.api_instance.replace_namespaced_lease(self.name, self.namespace, lease)


async def lead(
    api: ApiClient,
    name: str,
    namespace: str,
    identity: str,
    work: Callable[[], Awaitable[None]],
    on_change: Callable[[bool], None] = lambda _: None,
) -> None:
    """Waits until this replica leads, then works, and gives the Lease back when the work has ended.

    Raises LeaderLost when the Lease could not be renewed, and what the work raises.
    """
    lock = SteadyLock(name, namespace, identity, api)
    leading = asyncio.Event()

    async def started() -> None:
        leading.set()
        await asyncio.Event().wait()  # the work is not the library's to cancel: its end is waited for

    async def stopped() -> None:
        """The end of `electing` says it."""

    election = LeaderElection(Config(lock, LEASE_S, RENEW_DEADLINE_S, RETRY_S, started, stopped))
    electing = asyncio.create_task(election.run())
    waiting = asyncio.create_task(leading.wait())
    working: asyncio.Task[None] | None = None
    try:
        await asyncio.wait([electing, waiting], return_when=asyncio.FIRST_COMPLETED)
        if not leading.is_set():
            electing.result()
            raise LeaderLost("the election has ended")
        on_change(True)
        working = asyncio.ensure_future(work())
        await asyncio.wait([electing, working], return_when=asyncio.FIRST_COMPLETED)
    finally:
        on_change(False)
        ended = working is not None and working.done()
        for task in (electing, waiting, working):
            if task is not None:
                task.cancel()
        await asyncio.gather(
            *(task for task in (electing, waiting, working) if task is not None), return_exceptions=True
        )
    assert working is not None
    if not ended:
        raise LeaderLost("the Lease could not be renewed; another replica may lead")
    await lock.give_back()
    working.result()
