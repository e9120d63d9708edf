"""One run of `outrider up`, from first process to last: supervises, observes, shows, and ends everything."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from outrider_operator.local import table
from outrider_operator.local.observe import Observer
from outrider_operator.local.plan import Plan
from outrider_operator.local.pod import ProcessPlan
from outrider_operator.local.role import Phase, Role
from outrider_operator.local.screen import Screen
from outrider_operator.measure.links import DraftLink
from outrider_operator.terminal import show_error

TICK_S = 1.0
FAILED = 1


class Session:
    """Runs a plan until it is told to end, or until its target cannot start."""

    def __init__(self, plan: Plan, screen: Screen, log_folder: Path, user_env: Mapping[str, str]) -> None:
        """Raises LocalError when a command is not installed; nothing has been started then."""
        self._plan = plan
        self._screen = screen
        self._roles = [
            Role(
                process,
                dict(user_env) | process.env,
                log_folder / f"{process.name}.log",
                self._role_changed,
            )
            for process in plan.processes
        ]
        self._end = asyncio.Event()
        self._settled = {process.name: asyncio.Event() for process in plan.processes}
        self._signals: list[signal.Signals] = []
        self._unread = False
        self._links: dict[str, DraftLink | None] = {}
        self._observer = Observer(self._roles)
        self._url_shown = False

    async def run(self) -> int:
        """Starts every role, returns the exit code when all have ended."""
        supervised: list[asyncio.Task[None]] = []
        with self._signal_handlers():
            try:
                supervised = [asyncio.create_task(self._supervise(role)) for role in self._roles]
                await self._watch(supervised)
            finally:
                await self._end_all(supervised)
        return self._exit_code()

    async def _supervise(self, role: Role) -> None:
        """Two models that load and warm up on the same cores at once take several times as long, and measure each
        other instead of themselves: there each waits until those before it are ready, or have failed once.
        """
        for earlier in self._roles[: self._roles.index(role)]:
            if _shares_cores(role.plan, earlier.plan):
                await self._settled[earlier.plan.name].wait()
        await role.supervise()

    async def _watch(self, supervised: list[asyncio.Task[None]]) -> None:
        while not self._end.is_set():
            await self._observer.read()
            self._show()
            for task in supervised:
                if task.done():
                    task.result()  # a fault of the supervisor itself must not pass unseen
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._end.wait(), TICK_S)

    def _show(self) -> None:
        views, now_s = self._observer.views(), time.monotonic()
        with self._while_read():
            for view in views:
                link = view.link if view.status.phase is Phase.READY else None
                if link is not None and link != self._links.get(view.name):
                    self._screen.changed(view, views, now_s)
                self._links[view.name] = link
            self._screen.tick(views, now_s)

    def _role_changed(self, role: Role) -> None:
        """A role's status is new: it is shown at once, and the run ends where there is no use in going on."""
        status, is_target = role.status, role.plan.role == "target"
        views = self._observer.views()
        [view] = [view for view in views if view.name == role.plan.name]
        with self._while_read():
            if not (is_target and status.phase is Phase.FAILED) and status.phase is not Phase.STOPPED:
                # Without what the target says of it, which is of the time before, and told when it is news.
                self._screen.changed(replace(view, link=None), views, time.monotonic())
            if status.phase is Phase.WAITING:
                for line in status.last_lines:
                    self._screen.say(f"  {line}")
                self._screen.say(f"  the whole log: {role.log}")
            if is_target and status.phase is Phase.READY and not self._url_shown:
                self._url_shown = True
                self._screen.say(f"{self._plan.name} is served at {self._plan.url}/v1; try")
                self._screen.say(f"  {table.curl_line(self._plan.url, self._plan.name)}")
        if status.phase in (Phase.READY, Phase.WAITING, Phase.FAILED):
            self._settled[role.plan.name].set()
        if is_target and status.phase is Phase.FAILED:
            self._end.set()

    async def _end_all(self, supervised: list[asyncio.Task[None]]) -> None:
        """Ends every process: each is asked first, and killed after its grace or at a second signal."""
        with self._while_read():
            self._screen.close()
        ended = await asyncio.gather(*(role.stop() for role in self._roles))
        for settled in self._settled.values():
            settled.set()
        await asyncio.gather(*supervised, return_exceptions=True)
        await self._observer.close()
        with self._while_read():
            if any(ended):
                self._screen.say("ended " + " and ".join(filter(None, ended)))

    def _exit_code(self) -> int:
        if len(self._signals) > 1:
            return 128 + self._signals[0]
        if self._signals or self._unread:
            return 0
        for role in self._roles:
            if role.status.phase is Phase.FAILED and role.plan.role == "target":
                with contextlib.suppress(OSError):
                    show_error(f"target: {role.status.reason}; the whole log: {role.log}")
        return FAILED

    @contextlib.contextmanager
    def _signal_handlers(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handled = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup has it outlive its terminal
            handled.append(signal.SIGHUP)
        for number in handled:
            loop.add_signal_handler(number, self._signalled, number)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)

    def _signalled(self, number: signal.Signals) -> None:
        self._signals.append(number)
        self._end.set()
        if len(self._signals) > 1:
            for role in self._roles:
                role.kill()

    @contextlib.contextmanager
    def _while_read(self) -> Iterator[None]:
        """Shows something, if anyone reads it still: `outrider up | head` ends when head does."""
        try:
            yield
        except OSError:
            self._unread = True
            self._end.set()
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
                os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _shares_cores(plan: ProcessPlan, earlier: ProcessPlan) -> bool:
    """Whether a process computes where one before it does."""
    return plan.cores is None or not set(plan.cores).isdisjoint(earlier.cores or ())
