"""How long one that is refused is told to wait: by the rate at which requests end while there are any."""

from __future__ import annotations

import asyncio

import pytest
from outrider_serving.target.queue import CompletionRate
from unit.target.test_engine import Running


def test_after_an_hour_without_requests_the_rate_is_what_it_was_before() -> None:
    rate = CompletionRate()
    for second in range(20):
        rate.ended(100.0 + second)
    assert rate.retry_after_s(20, 120.0) == 20
    for hour_s in (3600.0, 7200.0):
        rate.began(hour_s)
        assert rate.retry_after_s(20, hour_s + 1.0) == 20
        rate.ended(hour_s + 1.0)


async def test_work_begins_anew_with_a_request_that_finds_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[float] = []
    monkeypatch.setattr(CompletionRate, "began", lambda _rate, now_s: begun.append(now_s))
    running = Running()
    try:
        await asyncio.gather(*(running.tokens([1, index]) for index in range(3)))
        assert len(begun) == 1
        await running.tokens([1, 2])
        assert len(begun) == 2
    finally:
        running.engine.stop()
