"""The real models that slower tests stand on."""

from __future__ import annotations

from pathlib import Path

import pytest
from outrider_serving.models.cache import cache_root, is_prepared, mirror_folder
from outrider_serving.models.catalogue import SMOLLM2_135M


def model_s_path() -> Path:
    """The prepared SmolLM2-135M-Instruct; fails the test with the remedy when it is not there."""
    folder = mirror_folder(cache_root()) / SMOLLM2_135M.hub_name
    if not is_prepared(folder, SMOLLM2_135M):
        pytest.fail(f"{SMOLLM2_135M.hub_name} is not prepared; run `make models`", pytrace=False)
    return folder
