"""What a supervised process is started for, and what it is not started for any more."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from outrider_operator.local.pod import Probe, ProcessPlan
from outrider_operator.local.role import Phase, Role

NEVER_S = 3600.0
ENDED = (Phase.WAITING, Phase.FAILED, Phase.STOPPED)


def sleeping(folder: Path) -> ProcessPlan:
    """A process that does nothing, for ever, and answers no probe."""
    return ProcessPlan(
        name="target-1",
        role="target",
        argv=("sleep", "infinity"),
        env={},
        folders=(folder,),
        probe=Probe("http://127.0.0.1:9/ready", period_s=NEVER_S, timeout_s=1.0, failures=1),
        ports={"http": 9},
        grace_s=NEVER_S,
        drain_s=NEVER_S,
    )


async def test_a_process_that_crashes_while_it_is_not_wanted_any_more_is_not_started_again(tmp_path: Path) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    def follow(role: Role) -> None:
        if role.status.pid is not None:
            started.set()
        if role.status.phase in ENDED:
            ended.set()

    role = Role(sleeping(tmp_path / "target-1"), os.environ, tmp_path / "log", follow)
    supervising = asyncio.create_task(role.supervise())
    await started.wait()
    pid = role.status.pid
    assert pid is not None
    leaving = asyncio.create_task(role.drain(NEVER_S))
    await asyncio.sleep(0)
    assert role.status.phase is Phase.DRAINING

    os.kill(pid, signal.SIGKILL)
    await ended.wait()
    phase = role.status.phase
    for task in (leaving, supervising):
        task.cancel()
    await asyncio.gather(leaving, supervising, return_exceptions=True)
    assert (phase, role.status.run) == (Phase.STOPPED, 1)
