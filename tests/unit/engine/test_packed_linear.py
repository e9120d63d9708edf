"""Packed products are those of the layer, whatever the number of rows, and few numbers of rows are asked of oneDNN."""

from __future__ import annotations

import pytest
import torch
from outrider_serving.engine.packed_linear import PackedLinear, whole_tiles
from outrider_serving.engine.quantization import Int8Linear


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 47, 48, 200])
@pytest.mark.parametrize("bias", [True, False])
def test_the_product_is_the_layers_own_for_any_number_of_rows(count: int, bias: bool) -> None:
    torch.manual_seed(1)
    linear = torch.nn.Linear(64, 96, bias=bias, dtype=torch.bfloat16)
    rows, residual = torch.randn(1, count, 64, dtype=torch.bfloat16), torch.randn(1, count, 96, dtype=torch.bfloat16)
    with torch.inference_mode():
        packed = PackedLinear(linear)
        torch.testing.assert_close(packed(rows), linear(rows), rtol=0.02, atol=0.02)
        torch.testing.assert_close(packed.plus(rows, residual), linear(rows) + residual, rtol=0.02, atol=0.02)
        quantised = Int8Linear(linear)
        assert quantised(rows).shape == (1, count, 96)
        torch.testing.assert_close(quantised(rows), linear(rows), rtol=0.1, atol=0.1)


def test_prompts_of_any_length_are_of_few_shapes() -> None:
    shapes = {whole_tiles(torch.zeros(1, count, 8)).shape[1] for count in range(1, 513)}
    assert len(shapes) == 32 + 30
    assert all(whole_tiles(torch.zeros(count, 8)).shape[0] == count for count in range(1, 33))
