"""Compute threads: a core each, or as many as OpenMP's variable says in any of the forms that OpenMP takes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from outrider_serving.flags import use_own_cores

CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def threads_as_they_were() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("asked", "threads"), [("3", 3), ("3,2", 3), ("0", CORES), ("", CORES), ("many", CORES), (None, CORES)]
)
def test_as_many_as_the_variable_says_and_without_a_number_all_cores(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, threads: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert use_own_cores() == torch.get_num_threads() == threads


def test_ranks_share_them_and_each_has_one_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert [use_own_cores(ranks) for ranks in (2, 9)] == [2, 1]
