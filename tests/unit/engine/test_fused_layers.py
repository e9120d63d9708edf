"""Fused products and norms: what the model's own layers give, for every family that is built so."""

from __future__ import annotations

import pytest
import torch
from outrider_serving.engine.attention import ATTENTION
from outrider_serving.engine.fused_layers import FusedProduct, Projection, fuse
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.packed_linear import packable
from outrider_serving.engine.quantization import Int8Linear, Quantization
from outrider_serving.engine.request import SamplingParams
from outrider_serving.engine.row_counts import TiledLinear
from outrider_serving.engine.rows import Rows
from outrider_serving.target.speculation import SpeculationPolicy
from support.inprocess import HandCarried, draft_engine, generate, shape_of, target_step
from support.layout import left_as_they_are
from support.pair import VOCABULARY, random_llama, random_pair
from unit.engine.test_attention import FAMILIES, PROMPT, family

OFF = SpeculationPolicy(mode="Off")
ALWAYS = SpeculationPolicy(mode="Always", ngrams=False)
GREEDY = SamplingParams(max_tokens=32, temperature=0.0)


def products(runner: ModelRunner) -> int:
    return sum(isinstance(module, TiledLinear) for module in runner.model.modules())


def logits_of(runner: ModelRunner) -> torch.Tensor:
    (logits,) = runner.forward([Rows(runner.new_kv(), PROMPT, range(len(PROMPT)))])
    return logits.float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_fused_family_gives_the_logits_of_its_own_layers(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_as_they_are(monkeypatch)
    expected = logits_of(ModelRunner(family(name, ATTENTION)))
    model = family(name, ATTENTION)
    torch.nn.Module.to(model, dtype)
    fuse(model)
    # Two groups a layer, each one product.
    assert sum(isinstance(module, FusedProduct) for module in model.modules()) == 2 * 4
    found = logits_of(ModelRunner(model))
    if dtype is torch.float32:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    else:
        assert torch.nn.functional.cosine_similarity(found, expected, dim=-1).min() > 0.99


def test_float32_tokens_of_a_model_laid_out_are_its_own_with_and_without_speculation() -> None:
    prompts = [[5, 6, 7, 8], [100, 3, 4], [42]]
    with pytest.MonkeyPatch.context() as monkeypatch:
        left_as_they_are(monkeypatch)
        plain = generate(target_step(random_pair(0.1).target, OFF), prompts, GREEDY)
    pair = random_pair(0.1)
    assert generate(target_step(pair.target, OFF), prompts, GREEDY) == plain
    drafter = HandCarried(draft_engine(pair.draft), shape_of(ALWAYS), VOCABULARY)
    assert generate(target_step(pair.target, ALWAYS, drafter), prompts, GREEDY) == plain


def test_a_model_that_cannot_be_packed_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_llama(2)
    laid_out = 2 * 4 + 1 if packable(model) else 0
    assert products(ModelRunner(model)) == laid_out
    left_as_they_are(monkeypatch)
    assert products(ModelRunner(random_llama(2))) == 0


def test_fused_products_are_quantised_too() -> None:
    model = random_llama(2)
    if not packable(model):
        fuse(model)  # as the engine does where it packs
    runner = ModelRunner(model, Quantization.INT8)
    products = [module for module in runner.model.modules() if isinstance(module, Int8Linear)]
    assert len(products) == 2 * 4 + 1  # two fused, two others a layer, and the output layer
    expected = logits_of(ModelRunner(random_llama(2)))
    assert torch.nn.functional.cosine_similarity(logits_of(runner), expected, dim=-1).min() > 0.98


def test_parts_may_be_asked_in_any_order_and_a_new_input_is_computed_anew() -> None:
    torch.manual_seed(0)
    linears = [torch.nn.Linear(8, width) for width in (6, 4, 2)]
    fused = FusedProduct(linears)
    first, second = torch.randn(3, 8), torch.randn(3, 8)
    for rows, order in ((first, (2, 0, 1)), (second, (0, 1)), (first, (1, 2, 0))):
        for index in order:
            torch.testing.assert_close(fused.part(rows, index), linears[index](rows))
    assert fused._rows is None


def test_layers_that_differ_in_input_or_bias_stay_apart() -> None:
    model = random_llama(1)
    mlp = model.model.layers[0].mlp
    mlp.up_proj = torch.nn.Linear(64, 128, bias=True)
    fuse(model)
    assert isinstance(mlp.up_proj, torch.nn.Linear)
    assert isinstance(model.model.layers[0].self_attn.k_proj, Projection)
