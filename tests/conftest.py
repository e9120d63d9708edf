"""Which tests run beside which, with --dist=loadscope. Those on a cluster mostly wait, and share one operator's Lease:
one after another, and beside those that start draft and target processes, which take the ports of the API's defaults,
fill a small machine's cores, and also go one after another. All others run wherever there is room.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

IN_TURN = {
    "tests/integration/operator/": "cluster",
    "tests/integration/local/": "processes",
    "tests/integration/serving/": "processes",
    "tests/e2e/": "processes",
}

# An example that meets a stall of a busy machine fails no test. By default one of more than 200 ms does.
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")


class InTurn(LoadScopeScheduling):  # type: ignore[misc]
    """A folder's tests, or those of several, by one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return next((group for folder, group in IN_TURN.items() if nodeid.startswith(folder)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    return InTurn(config, log) if config.getoption("dist") == "loadscope" else None
