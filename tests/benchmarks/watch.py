"""Who uses the processor: the system that runs, those that should be asleep, and what is none of the benchmark's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import psutil

# A few ticks of the kernel's clock: a server that waits looks at its inbox now and then.
IDLE_CPU_S = 0.03
QUIET_FOR_S = 0.2
LONGEST_WAIT_S = 5.0


@dataclass(frozen=True)
class Reading:
    """CPU seconds so far."""

    at_s: float
    machine_s: float
    by_pid: dict[int, float]


def read(pids: Iterable[int]) -> Reading:
    """CPU seconds of the machine and of each process; one that has ended is left out."""
    by_pid: dict[int, float] = {}
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        by_pid[pid] = times.user + times.system
    total = psutil.cpu_times()
    return Reading(time.monotonic(), sum(total) - total.idle - getattr(total, "iowait", 0.0), by_pid)


def shares(before: Reading, after: Reading, running: Collection[int]) -> tuple[float, float]:
    """Shares of one core that went to the waiting processes, and to what is in neither reading."""
    seconds = after.at_s - before.at_s
    used = {pid: cpu_s - before.by_pid.get(pid, 0.0) for pid, cpu_s in after.by_pid.items()}
    waiting_s = sum(cpu_s for pid, cpu_s in used.items() if pid not in running)
    foreign_s = after.machine_s - before.machine_s - sum(used.values())
    return waiting_s / seconds, max(0.0, foreign_s / seconds)


async def until_idle(pids: Collection[int]) -> bool:
    """Waits until all the processes sleep; False when they have not within five seconds."""
    deadline_s = time.monotonic() + LONGEST_WAIT_S
    while time.monotonic() < deadline_s:
        before = read(pids)
        await asyncio.sleep(QUIET_FOR_S)
        after = read(pids)
        if sum(after.by_pid.values()) - sum(before.by_pid.values()) <= IDLE_CPU_S:
            return True
    return False
