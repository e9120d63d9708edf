"""How long running streams stand still while a long prompt is read beside them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from benchmarks.errors import BenchError
from benchmarks.load.clients import Clients, Received, Refused, fixed_length
from benchmarks.load.latencies import percentile
from benchmarks.load.workload import Request

RUNNING_STREAMS = 8
# Before it: so many pieces of each stream, the first of which belong to a server that still reads their prompts.
PIECES_BEFORE = 48
UNCOUNTED_PIECES = 16
# More than they will have given when the prompt is read.
RUNNING_TOKENS = 1024
LOOK_S = 0.1
LONGEST_S = 300.0


@dataclass(frozen=True)
class Stall:
    """Gaps between two pieces of a stream, before and while a long prompt was read."""

    prompt_tokens: int
    read_s: float  # from the long prompt sent to its first token
    before_s: Sequence[float]
    during_s: Sequence[float]

    @property
    def times(self) -> float | None:
        """The 99th percentile during over the median before."""
        worst = percentile(self.during_s, 99)
        return None if worst is None or not self.before_s else worst / median(self.before_s)

    def record(self) -> dict[str, Any]:
        before, worst, middle = (
            None if value is None else 1000 * value
            for value in (
                percentile(self.before_s, 50),
                percentile(self.during_s, 99),
                percentile(self.during_s, 50),
            )
        )
        return {
            "streams": RUNNING_STREAMS,
            "prompt_tokens": self.prompt_tokens,
            "read_s": self.read_s,
            "itl_p50_before_ms": before,
            "itl_p50_during_ms": middle,
            "itl_p99_during_ms": worst,
            "p99_over_median": self.times,
        }


def split(pieces_s: Sequence[Sequence[float]], sent_s: float, first_s: float) -> tuple[list[float], list[float]]:
    """The gaps that ended before `sent_s`, and those that lay at least in part between it and `first_s`."""
    before: list[float] = []
    during: list[float] = []
    for stream in pieces_s:
        for place, (begin_s, end_s) in enumerate(pairwise(stream)):
            if end_s <= sent_s:
                if place >= UNCOUNTED_PIECES:
                    before.append(end_s - begin_s)
            elif begin_s < first_s:
                during.append(end_s - begin_s)
    return before, during


async def measure(clients: Clients, running: Sequence[Request], long: Request) -> Stall:
    """Greedy. The running streams are given up once the long prompt is read. Raises BenchError."""
    start_s = time.perf_counter()
    received = [Received(0.0) for _ in running]
    tasks = [
        asyncio.create_task(clients.answer(_of_text(request), into, start_s))
        for request, into in zip(running, received, strict=True)
    ]
    try:
        async with asyncio.timeout(LONGEST_S):
            await _until_all_have(received, tasks)
            asked = Received(time.perf_counter() - start_s)
            await clients.answer(fixed_length(long, 0.0), asked, start_s)
            first_s = asked.stream().arrivals_s[0]
            await asyncio.sleep(LOOK_S)  # the gaps that were open then
            before_s, during_s = split([each.pieces_s() for each in received], asked.sent_s, first_s)
            return Stall(len(long.prompt), first_s - asked.sent_s, before_s, during_s)
    except (Refused, TimeoutError) as problem:
        raise BenchError(f"long prompt: {problem or 'not read in time'}") from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _of_text(request: Request) -> dict[str, Any]:
    """The body of a running stream's request. An end of text is not only ignored but never chosen: it has no text, and
    the gap around it would be two steps.
    """
    return {**fixed_length(request, 0.0), "min_tokens": request.tokens}


async def _until_all_have(received: Sequence[Received], tasks: Sequence[asyncio.Task[None]]) -> None:
    while min(len(each.reads) for each in received) < PIECES_BEFORE:
        await asyncio.sleep(LOOK_S)
        for task in tasks:
            if task.done():
                task.result()
                raise Refused("a running stream ended before the long prompt was sent")
