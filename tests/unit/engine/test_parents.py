"""Weights are let go of one by one while others take their place: no model is in memory twice."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from outrider_serving.engine import fused_layers, packed_linear, quantization
from outrider_serving.engine.quantization import Quantization
from support.pair import random_llama
from transformers import LlamaForCausalLM

LAYERS = 4
# What is being replaced, and what the loop last had in its hands.
IN_HAND = 6


def quantised(model: LlamaForCausalLM) -> None:
    quantization.quantize(model, Quantization.INT8)


@pytest.mark.parametrize(
    ("module", "maker", "replace", "left"),
    [
        (packed_linear, "PackedLinear", packed_linear.pack, 0),
        (quantization, "Int8Linear", quantised, 0),
        # Of seven products a layer five are fused.
        (fused_layers, "FusedProduct", fused_layers.fuse, LAYERS * 2 + 1),
    ],
)
def test_no_layer_outlives_its_replacement(
    module: ModuleType,
    maker: str,
    replace: Callable[[LlamaForCausalLM], None],
    left: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = random_llama(LAYERS)
    linears = weakref.WeakSet(each for each in model.modules() if type(each) is torch.nn.Linear)
    alive: list[int] = []
    make = getattr(module, maker)

    def counted(*of: object) -> object:
        alive.append(len(linears))
        return make(*of)

    monkeypatch.setattr(module, maker, counted)
    replace(model)
    assert alive[0] == LAYERS * 7 + 1
    assert alive[-1] <= left + IN_HAND
