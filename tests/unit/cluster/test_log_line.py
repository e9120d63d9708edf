"""A pod's log lines as a person reads them."""

from __future__ import annotations

import json

import pytest
from outrider_operator.cluster.log_line import parse_since_s, readable, stamped


def shown(**entry: object) -> str:
    return readable(json.dumps(entry)).plain


def test_a_line_of_our_own_is_time_level_event_and_values() -> None:
    text = shown(
        role="target", level="info", timestamp="2026-11-20T10:00:05.123Z", event="listening", port=8000, host="a"
    )
    assert text == "10:00:05 info    listening port=8000 host=a"


def test_values_with_blanks_are_quoted_and_others_are_json() -> None:
    text = shown(event="draft refused", reason='tokenizers differ: "a"', drafts=["x"], none=None)
    assert text == 'draft refused reason="tokenizers differ: \\"a\\"" drafts=["x"] none=null'


def test_an_exception_stands_below_its_line() -> None:
    text = shown(event="failed", level="error", exception="Traceback:\n  File\nValueError: x")
    assert text.splitlines() == ["error   failed", "    Traceback:", "      File", "    ValueError: x"]


@pytest.mark.parametrize("line", ["INFO: started", '{"no": "event"}', "{not json", "[1, 2]", '"text"', ""])
def test_other_lines_are_as_they_are(line: str) -> None:
    assert readable(line).plain == line


def test_a_log_cannot_move_the_cursor() -> None:
    assert readable("\x1b[2Jgone\r\ttab").plain == "\\x1b[2Jgone\\x0d\ttab"
    assert "\x1b" not in shown(event="a\x1b[2J", key="\x1b[31m", exception="\x1b]0;")
    assert shown(event="a", level="\x1b[2J") == "\\x1b[2J a"


def test_the_time_that_the_server_puts_before_a_line_is_taken_off() -> None:
    line = stamped(b"2026-11-20T10:00:05.123456789Z two words\n")
    assert (line.text, line.stamp) == ("two words", "2026-11-20T10:00:05.123456789Z")
    assert line.at is not None
    assert line.at.microsecond == 123456


@pytest.mark.parametrize("raw", ["unable to retrieve container logs", "2026-11-20 came without a zone", ""])
def test_a_line_without_a_time_is_whole(raw: str) -> None:
    line = stamped(raw.encode())
    assert (line.at, line.text) == (None, raw)


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("10m", 600), ("1h30m", 5400), ("2d", 172800)])
def test_spans(text: str, seconds: int) -> None:
    assert parse_since_s(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "10 m", "-5s", "30s10m", "0s"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(ValueError, match="^" + text.replace("-", r"\-")):
        parse_since_s(text)
