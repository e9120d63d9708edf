"""Which tests run beside which. Those on a cluster mostly wait, and share one operator's Lease: one after another, and
beside those that start draft and target processes, which take the ports of the API's defaults, fill a small machine's
cores, and also go one after another. All others run wherever there is room.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
IN_TURN = {
    "integration/operator": "cluster",
    "integration/local": "processes",
    "integration/serving": "processes",
    "e2e": "processes",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for folder, group in IN_TURN.items():
            if item.path.is_relative_to(TESTS / folder):
                item.add_marker(pytest.mark.xdist_group(group))
