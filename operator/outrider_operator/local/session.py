"""One run of `outrider up`, from first process to last: supervises, observes, scales, shows, and ends everything."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from outrider_operator.autoscaling.report import Change
from outrider_operator.local import table
from outrider_operator.local.autoscale import Autoscaler
from outrider_operator.local.fleet import Fleet
from outrider_operator.local.observe import Observer
from outrider_operator.local.plan import Plan
from outrider_operator.local.role import Phase, Role
from outrider_operator.local.screen import Screen
from outrider_operator.measure.links import DraftLink
from outrider_operator.terminal import show_error

TICK_S = 1.0
FAILED = 1


class Session:
    """Runs a plan until it is told to end, or until no target can start."""

    def __init__(self, plan: Plan, screen: Screen, log_folder: Path, user_env: Mapping[str, str]) -> None:
        """Raises LocalError when a command is not installed or a port is taken; nothing has been started then."""
        self._plan = plan
        self._screen = screen
        self._fleet = Fleet(plan, log_folder, user_env, self._role_changed)
        self._observer = Observer(lambda: self._fleet.roles)
        self._autoscaler = self._make_autoscaler()
        self._end = asyncio.Event()
        self._signals: list[signal.Signals] = []
        self._unread = False
        self._links: dict[str, DraftLink | None] = {}
        self._url_shown = False

    def _make_autoscaler(self) -> Autoscaler | None:
        asked, file = self._plan.asked, self._plan.speculation_file
        if asked.policy is None:
            return None
        return Autoscaler(asked, asked.policy, self._fleet, self._observer, file, self._decided, time.monotonic())

    async def run(self) -> int:
        """Starts what is wanted at first, returns the exit code when all have ended."""
        with self._signal_handlers():
            try:
                self._fleet.start()
                await self._watch()
            finally:
                await self._end_all()
        return self._exit_code()

    async def _watch(self) -> None:
        while not self._end.is_set():
            await self._observer.read()
            self._show()
            if self._autoscaler is not None and not self._end.is_set():
                self._autoscaler.look(time.monotonic())
            self._fleet.check()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._end.wait(), TICK_S)

    def _show(self) -> None:
        views, now_s = self._observer.views(), time.monotonic()
        with self._while_read():
            before = self._links
            self._links = {view.name: view.link for view in views if view.status.phase is Phase.READY}
            for view in views:
                link = self._links.get(view.name)
                if link is not None and link != before.get(view.name):
                    self._screen.changed(view, views, now_s)
            self._screen.tick(views, now_s)

    def _decided(self, change: Change) -> None:
        line = table.decision_line(change, self._plan.asked.advisory)
        decisions = self._autoscaler.decisions if self._autoscaler is not None else []
        with self._while_read():
            self._screen.decided(line, decisions, self._observer.views())

    def _role_changed(self, role: Role) -> None:
        """A role's status is new: it is shown at once, and the run ends where there is no use in going on."""
        status, is_target = role.status, role.plan.role == "target"
        lost = is_target and self._no_target_can_start()
        views = self._observer.views()
        [view] = [view for view in views if view.name == role.plan.name]
        with self._while_read():
            if not lost and not (status.phase is Phase.STOPPED and self._end.is_set()):
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
        if lost:
            self._end.set()

    def _no_target_can_start(self) -> bool:
        return all(role.status.phase is Phase.FAILED for role in self._fleet.staying("target"))

    async def _end_all(self) -> None:
        """Ends every process: each is asked first, and killed after its grace or at a second signal."""
        self._end.set()
        with self._while_read():
            self._screen.close()
        ended = await self._fleet.end()
        await self._observer.close()
        with self._while_read():
            if ended:
                self._screen.say("ended " + " and ".join(ended))

    def _exit_code(self) -> int:
        if len(self._signals) > 1:
            return 128 + self._signals[0]
        if self._signals or self._unread:
            return 0
        for role in self._fleet.roles:
            if role.status.phase is Phase.FAILED and role.plan.role == "target":
                with contextlib.suppress(OSError):
                    show_error(f"{role.plan.name}: {role.status.reason}; the whole log: {role.log}")
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
            self._fleet.kill()

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
