"""What a supervised process is started for, and what it is not started for any more."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
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


async def test_a_process_whose_log_was_deleted_is_started_again_and_logs_anew(tmp_path: Path) -> None:
    """As a service manager's tidying does it to a run of many days."""
    again = asyncio.Event()

    def follow(role: Role) -> None:
        if role.status.run == 2 and role.status.pid is not None:
            again.set()
        elif role.status.pid is not None:
            shutil.rmtree(log.parent)
            os.kill(role.status.pid, signal.SIGKILL)

    log = tmp_path / "logs" / "target.log"
    role = Role(sleeping(tmp_path / "target-1"), os.environ, log, follow)
    supervising = asyncio.create_task(role.supervise())
    waiting = asyncio.create_task(again.wait())
    await asyncio.wait((supervising, waiting), return_when=asyncio.FIRST_COMPLETED)
    assert log.exists()
    role.kill()
    await supervising


async def test_what_fails_in_whoever_is_told_of_a_probes_answer_ends_the_supervision(tmp_path: Path) -> None:
    """A role that nobody asks any more would seem to be loading for ever."""

    def refuse(role: Role) -> None:
        if role.status.phase is Phase.LOADING:
            raise OSError("No space left on device")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        plan = sleeping(tmp_path / "target-1")
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ready"
        plan = replace(plan, probe=replace(plan.probe, url=url))
        role = Role(plan, os.environ, tmp_path / "log", refuse)
        with pytest.raises(OSError, match="No space"):
            await asyncio.wait_for(role.supervise(), 60)
