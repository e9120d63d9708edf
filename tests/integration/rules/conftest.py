"""Rules under promtool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus.binaries import Binaries
from prometheus.rules import Rules


@pytest.fixture
def under_promtool(binaries: Binaries, tmp_path: Path) -> Callable[[Mapping[str, Any]], Rules]:
    """Rules, by their groups."""
    return lambda groups: Rules(binaries.promtool, groups, tmp_path)
