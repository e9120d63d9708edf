"""What a terminal shows of a run."""

from __future__ import annotations

import io

import pytest
from outrider_operator.local.observe import RoleView
from outrider_operator.local.role import Phase, RoleStatus
from outrider_operator.local.screen import LiveScreen, PlainScreen, make_screen
from rich.console import Console

LOADING = RoleView("target", RoleStatus(Phase.LOADING, run=1, pid=4711))


class Terminal:
    """A terminal of its own, and everything that was written to it."""

    def __init__(self) -> None:
        self._file = io.StringIO()
        self.console = Console(
            file=self._file, force_terminal=True, width=200, soft_wrap=True, highlight=False, markup=False, emoji=False
        )

    @property
    def written(self) -> str:
        return self._file.getvalue()


def test_the_last_words_of_a_process_are_shown_as_they_are_whatever_brackets_they_hold() -> None:
    terminal = Terminal()
    words = "exit code 1: RuntimeError: [/pytorch/gloo/pair.cc:534] Connection closed by peer [127.0.0.1]:1234"
    ended = RoleView("draft", RoleStatus(Phase.WAITING, run=1, reason=words, wait_s=1.0))
    screen = LiveScreen(terminal.console)
    screen.changed(ended, [LOADING, ended], now_s=1.0)
    screen.close()
    assert terminal.written.count(words) > 1  # in the line above, and beside the spinner


def test_a_reading_that_comes_after_the_end_draws_no_table_below_the_last_lines() -> None:
    terminal = Terminal()
    screen = LiveScreen(terminal.console)
    screen.tick([LOADING], now_s=1.0)
    screen.close()
    before = terminal.written
    screen.tick([LOADING], now_s=2.0)
    screen.say("ended target (pid 4711)")
    assert terminal.written == before + "ended target (pid 4711)\n"


def test_a_terminal_that_cannot_be_drawn_over_is_told_in_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_screen("", as_json=False), PlainScreen)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(make_screen("", as_json=False), LiveScreen)
