"""The three ways in which a run is shown: a live table, plain lines, JSON lines."""

import sys
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from outrider_operator.local import table
from outrider_operator.local.observe import RoleView
from outrider_operator.local.role import Phase
from outrider_operator.resources.pod import Object
from outrider_operator.terminal import console, redraws

PERIOD_S = 10.0


class Screen(Protocol):
    """Where a run is shown. Raises OSError when nobody reads it any more."""

    def say(self, line: str) -> None:
        """Shows a line for people."""

    def changed(self, role: RoleView, views: Sequence[RoleView], now_s: float) -> None:
        """Shows that the state of one role has changed."""

    def decided(self, line: str, decisions: Sequence[Object], views: Sequence[RoleView]) -> None:
        """Shows what the autoscaler has decided, and why: in a line, or for programs with the last ones before it."""

    def tick(self, views: Sequence[RoleView], now_s: float) -> None:
        """Shows the figures, as often as this kind of output does; called about once a second."""

    def close(self) -> None:
        """Leaves the last figures as they are: lines only from now on."""


def make_screen(url: str, as_json: bool) -> Screen:
    """The screen that suits this standard output."""
    if as_json:
        return JsonScreen(url)
    terminal = console()
    return LiveScreen(terminal) if redraws(terminal) else PlainScreen()


class Period:
    """True once in so many seconds."""

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._last_s: float | None = None

    def is_over(self, now_s: float) -> bool:
        """Whether it is time again; if so the next period begins. The first begins with the first call."""
        if self._last_s is not None and now_s - self._last_s < self._length_s:
            return False
        first, self._last_s = self._last_s is None, now_s
        return not first


class PlainScreen:
    """A line a role every ten seconds, and one whenever a state changes or the autoscaler decides."""

    def __init__(self) -> None:
        self._period = Period(PERIOD_S)

    def say(self, line: str) -> None:
        print(line, flush=True)

    def changed(self, role: RoleView, views: Sequence[RoleView], now_s: float) -> None:  # noqa: ARG002
        print(table.event(role, now_s), flush=True)

    def decided(self, line: str, decisions: Sequence[Object], views: Sequence[RoleView]) -> None:  # noqa: ARG002
        self.say(line)

    def tick(self, views: Sequence[RoleView], now_s: float) -> None:
        if self._period.is_over(now_s):
            for view in views:
                print(table.plain_line(view) if view.rates else table.event(view, now_s), flush=True)

    def close(self) -> None:
        sys.stdout.flush()


class JsonScreen:
    """An object a line, every ten seconds and whenever something changes; lines for people go to stderr."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._period = Period(PERIOD_S)
        self._decisions: Sequence[Object] = ()

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def changed(self, role: RoleView, views: Sequence[RoleView], now_s: float) -> None:  # noqa: ARG002
        self._print(views)

    def decided(self, line: str, decisions: Sequence[Object], views: Sequence[RoleView]) -> None:
        self._decisions = decisions
        self.say(line)
        self._print(views)

    def tick(self, views: Sequence[RoleView], now_s: float) -> None:
        if self._period.is_over(now_s):
            self._print(views)

    def close(self) -> None:
        sys.stdout.flush()

    def _print(self, views: Sequence[RoleView]) -> None:
        print(table.json_line(self._url, views, self._decisions), flush=True)


class LiveScreen:
    """Spinners until a target is ready, then the table; what goes wrong and what is decided is written above it."""

    def __init__(self, terminal: Console) -> None:
        self._console = terminal
        self._live = Live(console=terminal, refresh_per_second=8, redirect_stdout=False, redirect_stderr=False)
        self._spinners: dict[str, Spinner] = {}
        self._closed = False

    def say(self, line: str) -> None:
        self._console.print(line)

    def changed(self, role: RoleView, views: Sequence[RoleView], now_s: float) -> None:
        if role.status.phase in (Phase.WAITING, Phase.FAILED, Phase.NOT_READY):
            self._console.print(Text(table.event(role, now_s), "yellow"))
        elif role.is_target and role.status.phase is Phase.READY:
            self._console.print(Text(table.event(role, now_s), "green"))
        self.tick(views, now_s)

    def decided(self, line: str, decisions: Sequence[Object], views: Sequence[RoleView]) -> None:  # noqa: ARG002
        self._console.print(Text(line, "cyan"))

    def tick(self, views: Sequence[RoleView], now_s: float) -> None:
        if self._closed:  # a reading that was under way when the run was ended
            return
        target_ran = any(view.is_target and view.rates is not None for view in views)
        shown = table.table(views) if target_ran else Group(*(self._spinner(view, now_s) for view in views))
        self._live.start()  # does nothing when it runs already
        self._live.update(shown, refresh=True)

    def close(self) -> None:
        self._closed = True
        self._live.stop()

    def _spinner(self, view: RoleView, now_s: float) -> Spinner | Text:
        text = table.event(view, now_s)
        if view.status.phase in (Phase.READY, Phase.FAILED):
            return Text(f"{'✓' if view.status.phase is Phase.READY else '✗'} {text}")
        # One spinner a role for the whole start: a new one would begin at its first frame each time.
        spinner = self._spinners.setdefault(view.name, Spinner("dots"))
        # As a text: a spinner takes a line for markup, and a process may end with [/any/path] in its last words.
        spinner.update(text=Text(text))
        return spinner
