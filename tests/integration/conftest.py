"""What tests with real processes share."""

from __future__ import annotations

import pytest
from prometheus.binaries import Binaries, find_binaries


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    """Prometheus and promtool. Raises NoPrometheus, which says how to get them."""
    return find_binaries()
