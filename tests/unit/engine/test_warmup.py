"""What a server knows of its forwards before it is ready."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as Many

import pytest
import torch
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.rows import Rows
from outrider_serving.engine.warmup import ENOUGH_S, ROUNDS, WIDTHS_TOKENS, measure_forwards
from support.pair import random_llama


class Cold(ModelRunner):
    """A forward takes `row_s` a row, as long for a start and half as long for each further sequence; the first of a
    shape three times as long.
    """

    def __init__(self, row_s: float) -> None:
        super().__init__(random_llama(1))
        self.now_s = 0.0
        self.forwards: Counter[tuple[int, int]] = Counter()
        self._row_s = row_s

    def takes_s(self, rows: int, sequences: int = 1) -> float:
        return self._row_s * (1 + rows + 0.5 * (sequences - 1))

    def forward(self, batch: Many[Rows]) -> list[torch.Tensor]:
        shape = (len(batch[0]), len(batch))
        cold = 1 if self.forwards[shape] else 3
        self.forwards[shape] += 1
        self.now_s += cold * self.takes_s(shape[0] * shape[1], shape[1])
        return super().forward(batch)


def test_what_the_first_forward_of_a_shape_takes_more_is_not_its_cost() -> None:
    runner = Cold(row_s=1e-4)
    times = measure_forwards(runner, lambda: runner.now_s)
    assert times.by_rows == pytest.approx({width: runner.takes_s(width) for width in WIDTHS_TOKENS})
    assert times.sequence_s == pytest.approx(0.5e-4)
    assert {runner.forwards[width, 1] for width in WIDTHS_TOKENS} == {ROUNDS}


def test_where_the_widest_takes_too_long_the_others_are_measured_again() -> None:
    runner = Cold(row_s=0.0125)
    times = measure_forwards(runner, lambda: runner.now_s)
    warm = [width for width in WIDTHS_TOKENS if times.by_rows[width] == pytest.approx(runner.takes_s(width))]
    assert warm == [width for width in WIDTHS_TOKENS if width < 64]
    assert [runner.forwards[width, 1] for width in (64, 256)] == [1, 1]


@pytest.mark.parametrize("row_s", [1e-4, 2e-3, 0.0125, 0.5])
def test_a_server_is_not_kept_from_being_ready_for_long(row_s: float) -> None:
    runner = Cold(row_s)
    measure_forwards(runner, lambda: runner.now_s)
    first_s = 3 * (runner.takes_s(4 * 64, 4) + runner.takes_s(4, 4) + sum(map(runner.takes_s, WIDTHS_TOKENS)))
    assert runner.now_s <= first_s + ENOUGH_S
