"""The log of a process: one JSON object a line, which says of an exception where it was raised and not what it says."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# In a process of its own: a process has one configuration of its logs.
SETTING = """
import asyncio, gc, logging, structlog
from outrider_serving import logs

def fails():
    raise RuntimeError("PRIVATE")

logs.configure("target")
"""
BY_STRUCTLOG = """
try:
    fails()
except RuntimeError:
    structlog.get_logger().exception("engine failed")
"""
BY_A_LIBRARY = """
try:
    fails()
except RuntimeError:
    logging.getLogger("library").error("engine failed", exc_info=True)
"""
BY_A_LIBRARY_BELOW_AN_EMPTY_LINE = """
try:
    fails()
except RuntimeError:
    logging.getLogger("library").error("\\nengine failed\\n", exc_info=True)
"""
BY_A_LIBRARY_LATER = """
try:
    fails()
except RuntimeError as error:
    kept = error
logging.getLogger("library").error("engine failed", exc_info=kept)
"""
BY_ASYNCIO = """
async def engine():
    fails()

async def main():
    task = asyncio.create_task(engine())
    await asyncio.wait([task])
    del task
    gc.collect()

asyncio.run(main())
"""


def logged(program: str) -> str:
    ended = subprocess.run([sys.executable, "-c", SETTING + program], capture_output=True, text=True, check=True)
    return ended.stderr


@pytest.mark.parametrize(
    "program",
    [BY_STRUCTLOG, BY_A_LIBRARY, BY_A_LIBRARY_BELOW_AN_EMPTY_LINE, BY_A_LIBRARY_LATER, BY_ASYNCIO],
    ids=["ours", "library", "library, empty line", "library, later", "asyncio"],
)
def test_an_exception_is_logged_by_kind_and_place_and_not_by_what_it_says(program: str) -> None:
    written = logged(program)

    line = json.loads(written)
    expected = "Task exception was never retrieved" if program == BY_ASYNCIO else "engine failed"
    assert (line["event"], line["level"], line["role"]) == (expected, "error", "target")
    assert line["error"] == "RuntimeError"
    assert line["where"][-1] == "<string>:6 fails"
    assert "PRIVATE" not in written


def test_a_line_about_no_exception_says_nothing_of_one() -> None:
    line = json.loads(logged('logging.getLogger("library").error("gone", exc_info=True)'))
    assert "error" not in line
    assert "exc_info" not in line
