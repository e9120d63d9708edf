from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.local.runner import Up


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    runner = Up(tmp_path)
    yield runner
    runner.close()
