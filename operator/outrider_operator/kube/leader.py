"""Who of the operator's replicas works: the one that holds a Lease. The others wait, and take over when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from kubernetes.aio.client import ApiClient
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

# A leader that is killed is replaced after LEASE_S + RETRY_S at most; one that cannot renew stops before that.
LEASE_S = 12
RENEW_DEADLINE_S = 8
RETRY_S = 2


class LeaderLost(Exception):
    """Another may be the leader by now: nothing may be written any more."""


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
    lock = LeaseLock(name, namespace, identity, api)
    working: asyncio.Task[None] | None = None

    async def started() -> None:
        nonlocal working
        working = asyncio.current_task()
        on_change(True)
        await work()

    async def stopped() -> None:
        on_change(False)

    election = LeaderElection(Config(lock, LEASE_S, RENEW_DEADLINE_S, RETRY_S, started, stopped))
    electing = asyncio.create_task(election.run())
    try:
        while working is None and not electing.done():
            await asyncio.wait([electing], timeout=RETRY_S / 10)
        waited = [electing] if working is None else [electing, working]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    finally:
        on_change(False)
        electing.cancel()
    if working is not None and working.done() and not working.cancelled():
        await _give_back(lock)
        working.result()
        return
    raise LeaderLost("the Lease could not be renewed; another replica may lead")


async def _give_back(lock: LeaseLock) -> None:
    """So that another replica need not wait for the Lease to run out."""
    held, record = await lock.get(lock.name, lock.namespace)
    if held and isinstance(record, LeaderElectionRecord) and record.holder_identity == lock.identity:
        record.lease_duration = "1"
        await lock.update(lock.name, lock.namespace, record)
