"""What is compared: each reads a context once, and then the same rows behind it again and again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from outrider_serving import loading
from outrider_serving.engine.attention import ATTENTION
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.packed_linear import packable
from outrider_serving.engine.quantization import Quantization
from outrider_serving.engine.row_counts import Steps, TiledLinear
from outrider_serving.engine.rows import Rows
from transformers import DynamicCache

from benchmarks.forward.hand_written import HandWritten

MOST_ROWS = 64
EXACT: Steps = ((MOST_ROWS, 1),)


class Contender(Protocol):
    def __call__(self, tokens: list[int]) -> torch.Tensor:
        """The logits [rows, vocabulary] of `tokens` behind the context, which stays as it is."""
        ...


def engine(
    path: Path, dtype: str, context: list[int], quantization: Quantization | None = None, steps: Steps | None = None
) -> Contender:
    """`steps`: the numbers of rows of its products, where not this machine's own."""
    model = loading.load_model(path, dtype, ATTENTION)
    runner = ModelRunner(model, quantization)
    for product in model.modules():
        if isinstance(product, TiledLinear) and steps is not None:
            product.steps = steps
    kv = runner.new_kv()
    runner.forward([Rows(kv, context, range(len(context)), logits_from=len(context))])

    def forward(tokens: list[int]) -> torch.Tensor:
        (logits,) = runner.forward([Rows(kv, tokens, range(kv.length, kv.length + len(tokens)))])
        kv.compact(len(context), [])
        return logits

    return forward


def hand_written(path: Path, dtype: str, context: list[int], packed: bool) -> Contender:
    model = HandWritten(loading.load_model(path, dtype, "sdpa"), packed, len(context) + MOST_ROWS)
    model.forward(context)

    def forward(tokens: list[int]) -> torch.Tensor:
        logits = model.forward(tokens)
        model.length = len(context)
        return logits

    return forward


def transformers_own(path: Path, dtype: str, context: list[int]) -> Contender:
    model = loading.load_model(path, dtype, "sdpa")
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        model(torch.tensor([context]), past_key_values=cache, logits_to_keep=1)

    @torch.inference_mode()
    def forward(tokens: list[int]) -> torch.Tensor:
        logits: torch.Tensor = model(torch.tensor([tokens]), past_key_values=cache).logits[0]
        cache.crop(-len(tokens))
        return logits

    return forward


def contenders(path: Path, dtype: str, context: list[int]) -> dict[str, Callable[[], Contender]]:
    """By name, what loads each; the packed ones where this machine multiplies bfloat16."""
    model = loading.load_model(path, dtype, "sdpa")
    packs = packable(model)
    loads: dict[str, Callable[[], Contender]] = {
        "engine": lambda: engine(path, dtype, context),
        "hand_written": lambda: hand_written(path, dtype, context, packed=False),
        "transformers": lambda: transformers_own(path, dtype, context),
    }
    if packs:
        loads["engine_exact_rows"] = lambda: engine(path, dtype, context, steps=EXACT)
        loads["hand_written_packed"] = lambda: hand_written(path, dtype, context, packed=True)
        loads["engine_int8"] = lambda: engine(path, dtype, context, Quantization.INT8)
    return loads
