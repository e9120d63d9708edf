"""Lean layers: what the model's own layers give, and only for layers of Llama's form."""

from __future__ import annotations

import pytest
import torch
from outrider_serving.engine.attention import ATTENTION
from outrider_serving.engine.fused_layers import fuse
from outrider_serving.engine.lean_layers import LeanLayer, streamline
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.packed_linear import packable
from outrider_serving.engine.rows import Rows
from support.layout import left_as_they_are
from transformers import GraniteConfig, GraniteForCausalLM, PreTrainedModel
from unit.engine.test_attention import FAMILIES, PROMPT, family

LLAMAS_FORM = {"llama", "qwen2", "mistral"}


@pytest.fixture(autouse=True)
def nothing_is_laid_out_by_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    left_as_they_are(monkeypatch)


class Adding(torch.nn.Linear):
    """A float32 linear layer with what the packed ones have, so that no rounding hides a mistake."""

    def plus(self, rows: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return residual + self.forward(rows)


def laid_out(model: PreTrainedModel) -> PreTrainedModel:
    fuse(model)
    for module in list(model.modules()):
        for child in module.children():
            if type(child) is torch.nn.Linear:
                child.__class__ = Adding
    return model


def lean_layers(model: PreTrainedModel) -> int:
    return sum(isinstance(module, LeanLayer) for module in model.modules())


def logits_of(runner: ModelRunner) -> list[torch.Tensor]:
    """Of a prompt, and of one more row over its cache beside another sequence."""
    kv, other = runner.new_kv(), runner.new_kv()
    prompt = runner.forward([Rows(kv, PROMPT, range(len(PROMPT)))])
    return [*prompt, *runner.forward([Rows(kv, [7], [len(PROMPT)]), Rows(other, PROMPT, range(len(PROMPT)))])]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_gives_the_logits_of_its_own_layers(name: str) -> None:
    expected = logits_of(ModelRunner(family(name, ATTENTION)))
    runner = ModelRunner(laid_out(family(name, ATTENTION)))
    streamline(runner.model, runner.kv_shape)
    assert lean_layers(runner.model) == (runner.kv_shape.layers if name in LLAMAS_FORM else 0)
    for found, wanted in zip(logits_of(runner), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_layer_that_only_looks_like_llamas_keeps_its_own_code() -> None:
    torch.manual_seed(3)
    config = GraniteConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        residual_multiplier=0.5,
        initializer_range=0.3,
    )
    config._attn_implementation = ATTENTION
    model = GraniteForCausalLM(config).eval()
    runner = ModelRunner(laid_out(model))
    streamline(runner.model, runner.kv_shape)
    assert lean_layers(model) == 0


def test_the_engine_makes_layers_lean_where_it_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    model = family("llama", ATTENTION)
    packs = packable(model)
    runner = ModelRunner(model)
    assert lean_layers(runner.model) == (runner.kv_shape.layers if packs else 0)
