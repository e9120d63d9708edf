"""What decisions on this machine go by: readings of processes that answer, over a time that says something."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from outrider_operator.autoscaling import timing
from outrider_operator.autoscaling.observation import Signals
from outrider_operator.autoscaling.signals import signals
from outrider_operator.local.observe import Observer
from outrider_operator.local.role import Phase, Role, RoleStatus
from support.pod_pages import answering, page

READY = RoleStatus(Phase.READY, run=1)


@dataclass
class Target:
    """A process that has answered so many requests, as long as it answers; and the clock."""

    requests: float = 0.0
    silent: bool = False
    now_s: float = 1000.0
    observer: Observer = field(init=False)

    def answer(self, path: str) -> str | int:
        if path == "/health":
            return "{}"
        if self.silent:
            return 500
        return page({"requests_arrived_total": self.requests, "generation_tokens_total": 10 * self.requests})

    async def run(self, seconds: int, requests_per_s: float) -> None:
        """Read every second."""
        for _ in range(seconds):
            self.now_s += 1
            self.requests += requests_per_s
            await self.observer.read()

    def signals(self) -> Signals | None:
        return signals(self.observer.readings("target"), [])


@dataclass(eq=False)
class Process:
    """As much of a Role as is looked at."""

    plan: SimpleNamespace
    status: RoleStatus = READY


@pytest.fixture
def served() -> Iterator[tuple[Target, Process]]:
    target = Target()
    with answering("127.0.0.1", 0, target.answer) as port:
        plan = SimpleNamespace(role="target", name="target-1", http_url=f"http://127.0.0.1:{port}", grpc_address=None)
        yield target, Process(plan)


@pytest.fixture
async def target(served: tuple[Target, Process]) -> AsyncIterator[Target]:
    made, process = served
    made.observer = Observer(lambda: [cast("Role", process)], clock=lambda: made.now_s)
    yield made
    await made.observer.close()


async def test_a_rate_is_over_a_tick_at_least(target: Target) -> None:
    """Four clients that have waited for it ask at once; then next to nothing comes."""
    await target.run(2, requests_per_s=4.0)
    assert target.signals() is None
    assert [len(each) for each in target.observer.readings("target")] == [1], "it answers, and is not silent"
    await target.run(int(timing.TICK_S) - 1, requests_per_s=0.0)
    assert (found := target.signals()) is not None
    assert (found.window_s, found.requests_per_s) == pytest.approx((timing.TICK_S, 4 / timing.TICK_S))


async def test_what_a_process_said_before_it_fell_silent_is_not_what_it_does(target: Target) -> None:
    await target.run(60, requests_per_s=1.0)
    target.silent = True
    await target.run(int(timing.FRESH_S), requests_per_s=0.0)
    assert target.signals() is not None, "a reading that fails is no outage yet"
    await target.run(1, requests_per_s=0.0)
    assert target.observer.readings("target") == []


async def test_after_a_long_silence_the_window_begins_anew(target: Target) -> None:
    await target.run(60, requests_per_s=1.0)
    target.silent = True
    await target.run(int(timing.WINDOW_S), requests_per_s=50.0)
    target.silent = False
    await target.run(1 + int(timing.TICK_S), requests_per_s=2.0)
    assert (found := target.signals()) is not None
    assert (found.window_s, found.requests_per_s) == pytest.approx((timing.TICK_S, 2.0))
