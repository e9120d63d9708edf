"""Runs that several files use: starting one costs seconds, standing idle costs nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.asking import Answer, Way, ask_at_once, request
from e2e.resources import MODEL_S, speculative_model
from e2e.running import Up, running
from e2e.tasks import TASKS
from support.models import model_s_path

DRAFT_LAYERS = 4


class Reference:
    """What the target alone answers; each way is asked once."""

    def __init__(self, off: Up) -> None:
        self.off = off
        self._answers: dict[Way, list[Answer]] = {}

    def answers(self, way: Way) -> list[Answer]:
        """The answers to all tasks, in their order."""
        if way not in self._answers:
            self._answers[way] = ask_at_once(self.off.url, [request(task, way) for task in TASKS])
        return self._answers[way]


@pytest.fixture(scope="session", autouse=True)
def model_s() -> Path:
    """Where model S is; whatever is run here stands on it."""
    return model_s_path()


@pytest.fixture(scope="session")
def off(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The target with speculation off."""
    with running(tmp_path_factory.mktemp("off"), speculative_model(mode="Off")) as up:
        yield up


@pytest.fixture(scope="session")
def reference(off: Up) -> Reference:
    return Reference(off)


@pytest.fixture(scope="session")
def itself(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The target with itself for a draft: whatever is drafted along the likeliest path is right.

    mode Always, here and elsewhere: a draft as slow as its target earns nothing, so Auto would soon stop asking it.
    """
    with running(tmp_path_factory.mktemp("itself"), speculative_model(draft=MODEL_S, mode="Always")) as up:
        yield up


@pytest.fixture(scope="session")
def first_layers(model_s: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a draft that hardly ever agrees with model S: its first layers."""
    folder = tmp_path_factory.mktemp("sliced") / "first-layers"
    command = [str(Path(sys.executable).with_name("outrider-models")), "slice", str(model_s), str(folder)]
    subprocess.run([*command, f"--layers={DRAFT_LAYERS}"], check=True)
    return f"file://{folder}"
