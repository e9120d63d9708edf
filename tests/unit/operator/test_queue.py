"""The work queue: each key once, never twice at a time, and what failed comes back later and later."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outrider_operator.reconcile.queue import FIRST_BACKOFF_S, JITTER, LONGEST_BACKOFF_S, Again, WorkQueue


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps over every wait: seconds cost nothing."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now_s = max(self.now_s, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def virtually(scenario: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())  # type: ignore[arg-type]


async def until_idle(queue: WorkQueue[str], work: Callable[[str], Awaitable[Again | None]], for_s: float = 600) -> None:
    running = asyncio.create_task(queue.run(work, workers=3))
    await asyncio.sleep(for_s)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_a_key_added_many_times_is_worked_on_once() -> None:
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue()
        done: list[str] = []

        async def work(key: str) -> None:
            done.append(key)

        for key in ("a", "b", "a", "a", "b"):
            queue.add(key)
        await until_idle(queue, work)
        assert sorted(done) == ["a", "b"]
        assert len(queue) == 0

    virtually(scenario)


def test_what_changes_while_it_is_worked_on_is_worked_on_again_and_never_twice_at_a_time() -> None:
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue()
        running: Counter[str] = Counter()
        starts: list[float] = []

        async def work(key: str) -> None:
            starts.append(asyncio.get_running_loop().time())
            running[key] += 1
            assert running[key] == 1
            if len(starts) == 1:
                queue.add(key)
                queue.add(key)
            await asyncio.sleep(5)
            running[key] -= 1

        queue.add("a")
        await until_idle(queue, work)
        assert starts == [0.0, 5.0]

    virtually(scenario)


def test_a_failure_comes_back_later_each_time_and_a_success_forgets_them() -> None:
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue()
        tries: list[float] = []

        async def work(_: str) -> Again | None:
            tries.append(asyncio.get_running_loop().time())
            return Again(0.0, failed=True) if len(tries) < 14 else None

        queue.add("a")
        await until_idle(queue, work)
        waits = [after - before for before, after in itertools.pairwise(tries)]
        for index, wait in enumerate(waits):
            longest = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**index)
            assert longest * (1 - JITTER) <= wait <= longest
        assert len(tries) == 14
        assert queue.failures("a") == 0

    virtually(scenario)


def test_the_server_may_ask_for_more_patience_than_the_backoff() -> None:
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue()
        tries: list[float] = []

        async def work(_: str) -> Again | None:
            tries.append(asyncio.get_running_loop().time())
            return Again(30.0, failed=True) if len(tries) == 1 else None

        queue.add("a")
        await until_idle(queue, work)
        assert tries == [0.0, 30.0]

    virtually(scenario)


def test_what_is_added_patiently_waits_for_the_end_of_a_backoff_and_for_nothing_else() -> None:
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue()
        tries: list[float] = []

        async def work(_: str) -> Again | None:
            tries.append(asyncio.get_running_loop().time())
            await asyncio.sleep(1)
            return Again(30.0, failed=True) if len(tries) == 1 else None

        queue.add_patiently("a")
        for at_s in (5, 31.5, 40):  # in the backoff, at work, and after it went well
            asyncio.get_running_loop().call_at(at_s, queue.add_patiently, "a")
        await until_idle(queue, work)
        assert tries == [0.0, 31.0, 32.0, 40.0]

    virtually(scenario)


@given(
    additions=st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=20
    )
)
@settings(max_examples=80, deadline=None)
def test_every_addition_is_followed_by_a_run_that_starts_when_it_is_due_or_later(
    additions: list[tuple[str, int, int]],
) -> None:
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue()
        starts: list[tuple[str, float]] = []

        async def work(key: str) -> None:
            starts.append((key, asyncio.get_running_loop().time()))
            await asyncio.sleep(3)

        async def add(key: str, at: int, after: int) -> None:
            await asyncio.sleep(at)
            queue.add(key, after)

        adding = [asyncio.create_task(add(*addition)) for addition in additions]
        await until_idle(queue, work)
        await asyncio.gather(*adding)
        for key, at, after in additions:
            assert any(name == key and at <= start <= at + after + 12 for name, start in starts)
        assert len(starts) <= len(additions)

    virtually(scenario)
