"""Models as their own code computes them, for tests that compare with what the engine makes of them."""

from __future__ import annotations

import pytest
from outrider_serving.engine import model_runner


def left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the engine lay out no model."""
    monkeypatch.setattr(model_runner, "packable", lambda _: False)
