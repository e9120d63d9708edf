"""The numbers of rows that oneDNN's products are asked for: few, and all made before the first request.

oneDNN keeps the code that it has made for each number of rows of each product, 0.6 MB each (with AMX; 0.5 on an EPYC),
and makes it when it first comes: 50 prompts of ever new lengths took 160 MB and 1.5 ms more a product, of one length
3 MB. `make bench-forward` compares a model's forwards with those by exact numbers of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from transformers import PreTrainedModel

Steps = Sequence[tuple[int, int]]

# Up to so many rows, and by what they then rise. A matrix unit takes 16 rows in the time of one, and to pad a step of
# few costs more than a row; of more rows a few are little: whole tiles, then pairs of tiles.
MATRIX_STEPS = ((16, 1), (128, 16), (512, 32))
# Without one, each row beyond the first few takes time of its own: a product of 32 rows 1.6 times that of 17.
FINE_STEPS = ((16, 1), (32, 2), (64, 4), (128, 8), (256, 16), (512, 32))
# AVX-512's kernel for bfloat16 is made for six rows and takes 0.75 of the time of the one for a single row (1.6 ms for
# 2.2, a product of 1536 x 17920 on an EPYC).
VECTOR_STEPS = ((6, 6), *FINE_STEPS)
# Beyond all: eighths of 1024.
LONG_ROWS = 128
# What a step has by default at most. Larger ones are made as they come.
MADE_ROWS = 512
# An output layer sees those rows alone whose token is asked for.
SAMPLED_ROWS = 128
LARGE_OUTPUT = 32_768


def steps_of(capabilities: Mapping[str, object]) -> Steps:
    """For a processor that can do what torch.cpu.get_capabilities() tells."""
    if capabilities.get("amx_tile"):
        return MATRIX_STEPS
    return VECTOR_STEPS if capabilities.get("avx512_bf16") else FINE_STEPS


STEPS_ROWS = steps_of(torch.cpu.get_capabilities())


class TiledLinear(torch.nn.Module):
    """A linear layer whose products are asked for by `whole_tiles`, of the numbers of rows that `steps` tell."""

    steps: Steps = STEPS_ROWS
    in_features: int
    out_features: int
    has_bias: bool

    def plus(self, rows: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The product added to `residual`, which stays as it is."""
        raise NotImplementedError


def padded(count: int, steps: Steps = STEPS_ROWS) -> int:
    """The number of rows that a product of `count` rows is asked for."""
    step = next((step for most, step in steps if count <= most), LONG_ROWS)
    return -(-count // step) * step


def row_counts(most: int, steps: Steps = STEPS_ROWS) -> Iterator[int]:
    """Every number that `padded` gives for up to `most` rows, rising."""
    count = 0
    while count < most:
        count = padded(count + 1, steps)
        yield count


def whole_tiles(rows: torch.Tensor, steps: Steps = STEPS_ROWS) -> torch.Tensor:
    """rows [..., rows, features], with rows of zeros behind them up to a number of which there are few."""
    more = padded(rows.shape[-2], steps) - rows.shape[-2]
    return torch.nn.functional.pad(rows, (0, 0, 0, more)) if more else rows


@torch.inference_mode()
def make_products(model: PreTrainedModel) -> None:
    """Has oneDNN make what it keeps for steps of up to MADE_ROWS rows: once for each form of product, as layers share
    it. Those products that are packed are meant; others keep nothing.
    """
    made: set[tuple[object, ...]] = set()
    added = {id(product) for layer in model.modules() for product in getattr(layer, "added_products", ())}
    for product in model.modules():
        if not isinstance(product, TiledLinear):
            continue
        adds = id(product) in added
        form = (type(product), product.in_features, product.out_features, product.has_bias, adds)
        if form in made:
            continue
        made.add(form)
        most = MADE_ROWS if product.out_features < LARGE_OUTPUT else SAMPLED_ROWS
        for count in row_counts(most, product.steps):
            rows = torch.zeros(1, count, product.in_features, dtype=model.dtype)
            if adds:
                product.plus(rows, torch.zeros(1, count, product.out_features, dtype=model.dtype))
            else:
                product(rows)
