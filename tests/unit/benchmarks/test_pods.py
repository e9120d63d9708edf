"""Outrider's processes as systems of a benchmark, as far as they go without being started."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.errors import BenchError
from benchmarks.pods import Pods, seed_of
from benchmarks.prompts import Prompt
from benchmarks.systems import resource


@pytest.fixture
def pods(tmp_path: Path) -> Pods:
    model = resource(
        "own_off",
        "hf://org/target",
        "hf://org/draft",
        mode="Off",
        dtype="bfloat16",
        draft_dtype="bfloat16",
        max_model_len_tokens=128,
        own_cores=(1, 1),
    )
    return Pods(model, str(tmp_path), tmp_path, cores=[0])


async def test_a_process_that_is_gone_ends_the_benchmark_with_a_line_that_names_it(pods: Pods) -> None:
    with pytest.raises(BenchError, match=r"own-off, target: its process ended .*own-off-target\.log"):
        await pods.run(Prompt("1", "qa", (1, 2)), tokens=8, temperature=0.0)


def test_mode_off_runs_no_draft_and_keeps_to_the_cores_it_is_given(pods: Pods) -> None:
    [command] = pods.commands()
    assert "--mode=Off" in command
    assert "--draft" not in command
    assert command.startswith("taskset -c 0 outrider-target ")


def test_every_prompt_has_a_seed_of_its_own() -> None:
    assert seed_of(Prompt("1", "qa", (1, 2))) != seed_of(Prompt("2", "qa", (1, 3)))
