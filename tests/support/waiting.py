"""Waiting for what will be there soon, on a machine that may be busy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 180.0  # of a test; what is waited for takes seconds, a model's start about ten


def eventually(what: str, look: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
    """The first thing seen that is not None or False; fails with `what` when it never comes."""
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"never seen: {what}")
