"""Prometheus and promtool, as `make prometheus` finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus.binaries import Binaries, find_binaries
from prometheus.rules import Rules


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    """Raises NoPrometheus, which says how to get them."""
    return find_binaries()


@pytest.fixture
def under_promtool(binaries: Binaries, tmp_path: Path) -> Callable[[Mapping[str, Any]], Rules]:
    """Rules, by their groups."""
    return lambda groups: Rules(binaries.promtool, groups, tmp_path)
