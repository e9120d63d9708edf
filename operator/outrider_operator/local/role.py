"""One role under supervision: its process is started, probed, started again when it ends, ended when asked.

`Role.status` is the only thing that others read; every change of it is told through `on_change`.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import httpx

from outrider_operator.local import log as logs
from outrider_operator.local.backoff import Backoff, Ending, cannot_start, describe_exit
from outrider_operator.local.fields import with_field
from outrider_operator.local.pod import ProcessPlan
from outrider_operator.local.process import Process, find_command

STARTING_PERIOD_S = 0.25  # how often a process that is not ready yet is asked; then the probe's own period
SHOWN_LINES = 10


class Phase(StrEnum):
    """Where a role is."""

    STARTING = "starting"  # the process is there, nothing answers yet
    LOADING = "loading model"  # it answers, and says that it is not ready
    READY = "ready"
    NOT_READY = "not ready"  # was ready, its probe fails now
    DRAINING = "draining"  # not wanted any more; what it serves goes on until it has ended
    WAITING = "restarting"  # ended; will be started again
    FAILED = "failed"  # ended; starting it again is pointless
    STOPPED = "stopped"  # ended because it was asked to


@dataclass(frozen=True)
class RoleStatus:
    """A role as it is now."""

    phase: Phase = Phase.STARTING
    since_s: float = 0.0  # monotonic, of this phase
    run: int = 0  # how often its process has been started
    pid: int | None = None
    reason: str | None = None  # why it is waiting or failed
    wait_s: float = 0.0  # until the next start, when waiting
    ready_after_s: float | None = None  # from the start of the process
    last_lines: tuple[str, ...] = ()  # of its log, when it ended by itself


class Role:
    """Supervises the process of one plan."""

    def __init__(
        self, plan: ProcessPlan, env: Mapping[str, str], log: Path, on_change: Callable[["Role"], None]
    ) -> None:
        """env: the whole environment of the process, the plan's included.

        Raises LocalError when the command is not installed.
        """
        self.plan = plan
        self.log = log
        self.status = RoleStatus()
        self.ever_ready = False
        self.unready_since_s: float | None = time.monotonic()  # None while it is ready
        self.settled = asyncio.Event()  # it was ready once, or its start has failed
        self._argv = (find_command(plan.argv[0]), *plan.argv[1:])
        self._env = env
        self._on_change = on_change
        self._process: Process | None = None
        self._stopping = asyncio.Event()

    async def supervise(self, after: Iterable["Role"] = ()) -> None:
        """Starts the process when those of `after` have settled, and keeps it running until it is told to end or until
        starting it is pointless.
        """
        for earlier in after:
            await _first_of(earlier.settled, self._stopping)
        backoff = Backoff()
        for folder in self.plan.folders:
            folder.mkdir(parents=True, exist_ok=True)
        while not self._stopping.is_set():
            ending, lines = await self._run_once()
            if self._stopping.is_set():
                break
            how = describe_exit(ending.exit_code)
            # What a process logged last says why it left, not why it was killed.
            reason = logs.reason(lines) if ending.exit_code >= 0 else None
            ended = replace(self.status, pid=None, last_lines=tuple(lines[-SHOWN_LINES:]))
            if cannot_start(ending, self.ever_ready):
                refusal = with_field(self.plan.role, reason) if reason else how
                self._become(replace(ended, phase=Phase.FAILED, reason=refusal))
                return
            wait_s, backoff = backoff.after(ending)
            why = f"{how}: {reason}" if reason else how
            self._become(replace(ended, phase=Phase.WAITING, wait_s=wait_s, reason=why))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)
        self._become(replace(self.status, phase=Phase.STOPPED, pid=None))

    async def stop(self) -> str | None:
        """Asks the process to end, and kills it when its grace is over.

        Returns what it ended as a person reads it, None when nothing ran.
        """
        return await self._stop(self.plan.grace_s)

    async def drain(self, after_s: float) -> None:
        """Ends the process as a pod that is not wanted any more, asking it in `after_s` seconds: what it serves may
        take as long as it may in a pod.
        """
        self._stopping.set()  # now: one that ends by itself meanwhile is not started again
        self._become(replace(self.status, phase=Phase.DRAINING))
        await asyncio.sleep(after_s)
        await self._stop(self.plan.drain_s)

    async def _stop(self, grace_s: float) -> str | None:
        self._stopping.set()
        process, pid = self._process, self.status.pid
        if process is None:
            return None
        process.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), grace_s)
        except TimeoutError:
            process.signal(signal.SIGKILL)
            await process.wait()
            return f"{self.plan.name} (pid {pid}, killed: it was still there after {grace_s:g} s)"
        return f"{self.plan.name} (pid {pid})"

    def kill(self) -> None:
        """Ends the process at once."""
        self._stopping.set()
        if self._process is not None:
            self._process.signal(signal.SIGKILL)

    async def _run_once(self) -> tuple[Ending, list[str]]:
        """Starts the process and waits for its end; returns how it ended and what it wrote to its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)  # whoever tidied up may have taken it for done with
        offset_bytes = logs.size_bytes(self.log)
        started_s = time.monotonic()
        process = await Process.start(self._argv, self._env, self.plan.cores, self.log)
        self._process = process
        self._become(RoleStatus(run=self.status.run + 1, reason=self.status.reason, pid=process.pid))
        if self._stopping.is_set():  # stop() was called while the process was being started, and saw none
            process.signal(signal.SIGKILL)
        ending, probing = asyncio.create_task(process.wait()), asyncio.create_task(self._probe(started_s))
        try:
            await asyncio.wait((ending, probing), return_when=asyncio.FIRST_COMPLETED)
            if probing.done():
                probing.result()  # it goes on for ever: what ended it is a fault of its own, which must not pass unseen
            exit_code = await ending
        finally:
            ending.cancel()
            probing.cancel()
            process.signal(signal.SIGKILL)  # what it left behind in its group
        self._process = None
        ready_after_s = self.status.ready_after_s
        ready_for_s = 0.0 if ready_after_s is None else time.monotonic() - started_s - ready_after_s
        return Ending(exit_code, ready_after_s is not None, ready_for_s), logs.lines_since(self.log, offset_bytes)

    async def _probe(self, started_s: float) -> None:
        """Asks the readiness probe again and again, and turns the answers into phases."""
        probe = self.plan.probe
        failures = 0
        # A proxy that the user's environment names knows nothing of this machine's loopback.
        async with httpx.AsyncClient(timeout=probe.timeout_s, trust_env=False) as client:
            while True:
                answer = await _ask(client, probe.url)
                failures = 0 if _is_success(answer) else failures + 1
                self._take_answer(answer, failures, started_s)
                await asyncio.sleep(probe.period_s if self.status.phase is Phase.READY else STARTING_PERIOD_S)

    def _take_answer(self, answer: int | None, failures: int, started_s: float) -> None:
        """Changes the phase where a probe's answer says so."""
        status = self.status
        if status.phase is Phase.DRAINING:
            return
        if _is_success(answer):
            if status.phase is not Phase.READY:
                self.ever_ready = True
                ready_after_s = status.ready_after_s or time.monotonic() - started_s
                self._become(replace(status, phase=Phase.READY, reason=None, ready_after_s=ready_after_s))
        elif status.phase is Phase.READY and failures >= self.plan.probe.failures:
            self._become(replace(status, phase=Phase.NOT_READY, reason=_probe_problem(answer)))
        elif status.phase is Phase.STARTING and answer is not None:
            self._become(replace(status, phase=Phase.LOADING))

    def _become(self, status: RoleStatus) -> None:
        """Takes over a new status and tells of it."""
        if status.phase is not self.status.phase or status.run != self.status.run:
            status = replace(status, since_s=time.monotonic())
        self.status = status
        if status.phase is Phase.READY:
            self.unready_since_s = None
        elif self.unready_since_s is None:
            self.unready_since_s = status.since_s
        if status.phase in (Phase.READY, Phase.WAITING, Phase.FAILED, Phase.STOPPED):
            self.settled.set()
        self._on_change(self)


async def _first_of(*events: asyncio.Event) -> None:
    """Waits until one of them is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _ask(client: httpx.AsyncClient, url: str) -> int | None:
    """The status of the answer, None when there was none."""
    try:
        return (await client.get(url)).status_code
    except httpx.HTTPError:
        return None


def _is_success(answer: int | None) -> bool:
    return answer is not None and 200 <= answer < 400  # as a kubelet sees it


def _probe_problem(answer: int | None) -> str:
    return "its readiness probe gets no answer" if answer is None else f"its readiness probe answers {answer}"
