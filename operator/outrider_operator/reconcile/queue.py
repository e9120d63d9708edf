"""What waits to be reconciled. Each key once, however often it was added, and never twice at a time."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 60.0
# Many that failed together, as when the server was away, do not come back together.
JITTER = 0.2

Key = TypeVar("Key")


class Again(NamedTuple):
    """What a worker gives back: come again after so many seconds, because of a failure or not."""

    after_s: float
    failed: bool = False


class WorkQueue(Generic[Key]):
    """Keys with the time at which each is due, worked off by a few workers.

    What is added while it is worked on is worked on again afterwards: the worker may have read before the change.
    """

    def __init__(self) -> None:
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._running: set[Key] = set()
        self._added_meanwhile: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._count = 0
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Keys that are due now or later, those that are worked on not counted."""
        return len(self._due)

    def add(self, key: Key, after_s: float = 0.0) -> None:
        """The key is due after so long, or when it was already, whichever is sooner."""
        due = asyncio.get_running_loop().time() + after_s
        waiting = self._added_meanwhile if key in self._running else self._due
        if key in waiting and waiting[key] <= due:
            return
        waiting[key] = due
        if waiting is self._due:
            self._count += 1
            heapq.heappush(self._heap, (due, self._count, key))
            self._changed.set()

    def add_patiently(self, key: Key) -> None:
        """As `add`, but what has failed stays due at the end of its backoff: nothing tells that it would go better."""
        if key in self._running or not self.failures(key):
            self.add(key)

    def failures(self, key: Key) -> int:
        """How often in a row it has failed."""
        return self._failures.get(key, 0)

    def forget(self, key: Key) -> None:
        """It is gone, and what is known of its failures with it."""
        self._failures.pop(key, None)
        self._due.pop(key, None)
        self._added_meanwhile.pop(key, None)

    async def run(self, work: Callable[[Key], Awaitable[Again | None]], workers: int) -> None:
        """Works until cancelled. `work` says whether and when the key is due again; what it raises ends all."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._worker(work))

    async def _worker(self, work: Callable[[Key], Awaitable[Again | None]]) -> None:
        while True:
            key = await self._next()
            self._running.add(key)
            again = None
            try:
                again = await work(key)
            finally:
                self._running.discard(key)
                self._finish(key, again)

    def _finish(self, key: Key, again: Again | None) -> None:
        meanwhile = self._added_meanwhile.pop(key, None)
        if again is not None and again.failed:
            self._failures[key] = self.failures(key) + 1
            self.add(key, max(again.after_s, self._backoff_s(key)))
            return
        self._failures.pop(key, None)
        if meanwhile is not None:
            self.add(key, max(0.0, meanwhile - asyncio.get_running_loop().time()))
        if again is not None:
            self.add(key, again.after_s)

    def _backoff_s(self, key: Key) -> float:
        longest = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(self.failures(key) - 1, 16))
        return longest * (1 - JITTER * random.random())

    async def _next(self) -> Key:
        while True:
            due, key = self._earliest()
            now = asyncio.get_running_loop().time()
            if key is not None and due <= now:
                heapq.heappop(self._heap)
                del self._due[key]
                return key
            self._changed.clear()
            try:
                async with asyncio.timeout(None if key is None else due - now):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _earliest(self) -> tuple[float, Key | None]:
        """What is due first. Entries that a sooner one has replaced are dropped on the way."""
        while self._heap:
            due, _, key = self._heap[0]
            if self._due.get(key) == due:
                return due, key
            heapq.heappop(self._heap)
        return 0.0, None
