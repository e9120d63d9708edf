"""Packed products are those of the layer, whatever the number of rows, and few numbers of rows are asked of oneDNN."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from outrider_serving.engine.packed_linear import PackedLinear
from outrider_serving.engine.quantization import Int8Linear
from outrider_serving.engine.row_counts import (
    FINE_STEPS,
    LARGE_OUTPUT,
    MADE_ROWS,
    MATRIX_STEPS,
    SAMPLED_ROWS,
    VECTOR_STEPS,
    Steps,
    TiledLinear,
    make_products,
    padded,
    row_counts,
    steps_of,
    whole_tiles,
)

multiplies_bfloat16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN packs no bfloat16 on this processor"
)
ROUNDING = {torch.bfloat16: 0.02, torch.float32: 1e-5}


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=multiplies_bfloat16)])
@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 47, 48, 200])
@pytest.mark.parametrize("bias", [True, False])
def test_the_product_is_the_layers_own_for_any_number_of_rows(count: int, bias: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    linear = torch.nn.Linear(64, 96, bias=bias, dtype=dtype)
    rows, residual = torch.randn(1, count, 64, dtype=dtype), torch.randn(1, count, 96, dtype=dtype)
    near = partial(torch.testing.assert_close, rtol=ROUNDING[dtype], atol=ROUNDING[dtype])
    with torch.inference_mode():
        packed = PackedLinear(linear)
        near(packed(rows), linear(rows))
        near(packed.plus(rows, residual), linear(rows) + residual)
        quantised = Int8Linear(linear)
        assert quantised(rows).shape == (1, count, 96)
        torch.testing.assert_close(quantised(rows), linear(rows), rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("steps", "few"), [(MATRIX_STEPS, 16 + 7 + 12), (VECTOR_STEPS, 1 + 10 + 5 * 8), (FINE_STEPS, 16 + 5 * 8)]
)
def test_prompts_of_any_length_are_of_few_shapes(steps: Steps, few: int) -> None:
    shapes = {whole_tiles(torch.zeros(1, count, 8), steps).shape[1] for count in range(1, 513)}
    assert len(shapes) == few
    assert shapes == set(row_counts(512, steps))
    assert padded(513, steps) == 640


def test_rows_are_counted_by_what_the_processor_has() -> None:
    assert steps_of({"amx_tile": True, "avx512_bf16": True}) == MATRIX_STEPS
    assert steps_of({"amx_tile": False, "avx512_bf16": True}) == VECTOR_STEPS
    assert steps_of({"architecture": "aarch64"}) == FINE_STEPS


def test_a_matrix_unit_is_asked_for_few_rows_as_they_are() -> None:
    assert all(whole_tiles(torch.zeros(count, 8), MATRIX_STEPS).shape[0] == count for count in range(1, 17))


def test_a_vector_unit_is_asked_for_six_rows_in_place_of_fewer_and_for_little_more_than_others() -> None:
    assert {padded(count, VECTOR_STEPS) for count in range(1, 7)} == {6}
    assert all(padded(count, VECTOR_STEPS) <= 1.2 * count for count in range(7, 513))


@multiplies_bfloat16
def test_a_row_has_the_same_product_alone_and_beside_five_others_on_a_vector_unit() -> None:
    torch.manual_seed(1)
    linear = torch.nn.Linear(640, 96, dtype=torch.bfloat16)
    rows = torch.randn(1, 6, 640, dtype=torch.bfloat16)
    with torch.inference_mode():
        packed = PackedLinear(linear)
        packed.steps = VECTOR_STEPS
        alone = torch.cat([packed(rows[:, row : row + 1]) for row in range(6)], 1)
        assert torch.equal(alone, packed(rows))


class Told(TiledLinear):
    """Notes the numbers of rows that it is asked for."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features, self.has_bias = in_features, out_features, False
        self.plain: list[int] = []
        self.added: list[int] = []

    def forward(self, rows: torch.Tensor) -> None:
        self.plain.append(rows.shape[-2])

    def plus(self, rows: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        assert residual.shape == (1, rows.shape[-2], self.out_features)
        self.added.append(rows.shape[-2])
        return residual


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = Told(8, 16), Told(16, 8)
        self.added_products = (self.down,)


class Model(torch.nn.Module):
    dtype = torch.bfloat16

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([Layer(), Layer()])
        self.lm_head = Told(8, LARGE_OUTPUT)


def test_every_form_of_product_is_made_once_and_as_its_layer_asks_for_it() -> None:
    model = Model()
    make_products(model)  # type: ignore[arg-type]
    first, second = model.layers
    assert isinstance(first, Layer)
    assert isinstance(second, Layer)
    assert first.up.plain == first.down.added == list(row_counts(MADE_ROWS))
    assert first.up.added == first.down.plain == second.up.plain == second.down.added == []
    assert model.lm_head.plain == list(row_counts(SAMPLED_ROWS))
