"""8-bit weights: near the model they came from, row by row the same, and lossless when only the draft has them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from outrider_serving.cli import FlagError
from outrider_serving.engine import quantization
from outrider_serving.engine.attention import ATTENTION
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.quantization import (
    UNSIGNED_ZERO,
    Int8Linear,
    Quantization,
    UnsupportedQuantization,
    largest_weight,
    quantize,
)
from outrider_serving.engine.request import SamplingParams
from outrider_serving.engine.rows import Rows
from outrider_serving.flags import Dtype, kv_cache_size
from outrider_serving.role import load_role
from outrider_serving.target.speculation import SpeculationPolicy
from support.inprocess import HandCarried, draft_engine, generate, shape_of, target_step
from support.pair import VOCABULARY, first_layers, random_llama, random_pair
from support.tiny import tiny_llama_dir
from transformers import LlamaConfig, LlamaForCausalLM

DTYPES = (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [False, True])
def test_a_product_is_near_that_of_the_weights_it_came_from(dtype: torch.dtype, bias: bool) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(96, 80, bias=bias, dtype=dtype)
    rows = torch.randn(1, 5, 96, dtype=dtype)
    rows[0, 3] *= 300  # an outlier spoils no other row
    with torch.inference_mode():
        found, expected = Int8Linear(linear)(rows), linear(rows)
    assert found.dtype is dtype
    assert found.shape == expected.shape
    for row, near in zip(found[0].float(), expected[0].float(), strict=True):
        assert (row - near).norm() < 0.03 * near.norm()


def test_weights_have_7_bits_where_two_products_of_bytes_are_added_in_16() -> None:
    assert largest_weight({"avx2": True}) == 63
    assert largest_weight({"avx2": True, "avx_vnni": True}) == 127
    assert largest_weight({"avx2": True, "avx512_vnni": True}) == 127
    assert largest_weight({"avx2": True, "amx_int8": True}) == 127
    assert largest_weight({"architecture": "aarch64"}) == 127


def test_the_largest_of_all_products_are_not_cut_off() -> None:
    linear = torch.nn.Linear(64, 16, bias=False)
    linear.weight.data = torch.full((16, 64), 0.5)
    with torch.inference_mode():
        torch.testing.assert_close(Int8Linear(linear)(torch.full((1, 64), 2.0)), torch.full((1, 16), 64.0))


def test_a_row_is_the_same_alone_and_among_others() -> None:
    torch.manual_seed(0)
    linear = Int8Linear(torch.nn.Linear(96, 80))
    rows = torch.randn(17, 96)
    with torch.inference_mode():
        alone = torch.cat([linear(row.unsqueeze(0)) for row in rows])
        assert torch.equal(linear(rows), alone)
        assert torch.equal(linear(torch.zeros(2, 96)), linear._bias.expand(2, -1))


def test_signed_and_unsigned_activations_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of them a processor is given is a matter of its speed alone."""
    torch.manual_seed(0)
    linear, rows = torch.nn.Linear(96, 80), torch.randn(5, 96)
    products = []
    for zero in (0, UNSIGNED_ZERO):
        monkeypatch.setattr(quantization, "zero_point", lambda zero=zero: zero)
        with torch.inference_mode():
            products.append(Int8Linear(linear)(rows))
    assert torch.equal(*products)


def test_the_product_is_not_left_to_the_reference_kernel(capfd: pytest.CaptureFixture[str]) -> None:
    """It is right, and a hundred times as slow."""
    capabilities = torch.cpu.get_capabilities()
    if not capabilities.get("avx2"):
        pytest.skip("a processor without products of bytes")
    linear = Int8Linear(torch.nn.Linear(96, 80))
    with torch.inference_mode(), torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        linear(torch.randn(4, 96))
    ran = [line for line in capfd.readouterr().out.splitlines() if ",matmul," in line or ",inner_product," in line]
    assert ran
    assert not [line for line in ran if "ref" in line]


def test_an_output_layer_that_shares_the_embedding_leaves_it_as_it_was() -> None:
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=True,
    )
    config._attn_implementation = ATTENTION
    model = LlamaForCausalLM(config).eval()
    before = model.get_input_embeddings().weight.clone()
    ModelRunner(model, Quantization.INT8)
    assert isinstance(model.get_output_embeddings(), Int8Linear)
    assert torch.equal(model.get_input_embeddings().weight, before)
    assert not any(type(module) is torch.nn.Linear for module in model.modules())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_quantised_draft_changes_no_token_and_still_guesses(temperature: float) -> None:
    pair = random_pair(0.1)
    prompts = [[5, 6, 7, 8], [100, 3, 4], [42]]
    sampling = SamplingParams(max_tokens=32, temperature=temperature, seed=7)
    policy = SpeculationPolicy(mode="Always", ngrams=False)
    plain = generate(target_step(pair.target, SpeculationPolicy(mode="Off")), prompts, sampling)
    draft = ModelRunner(first_layers(random_llama(4, 0.1), 1), Quantization.INT8)
    drafter = HandCarried(draft_engine(draft), shape_of(policy), VOCABULARY)
    steps: list[int] = []
    assert generate(target_step(pair.target, policy, drafter), prompts, sampling, steps.append) == plain
    assert len(steps) < 26  # 32 without a draft


def test_a_quantised_target_says_the_same_with_and_without_speculation() -> None:
    draft = random_pair(0.1).draft
    target = ModelRunner(random_llama(4, 0.1), Quantization.INT8)
    sampling = SamplingParams(max_tokens=32, temperature=0.0)
    policy = SpeculationPolicy(mode="Always", ngrams=False)
    plain = generate(target_step(target, SpeculationPolicy(mode="Off")), [[5, 6, 7], [9]], sampling)
    drafter = HandCarried(draft_engine(draft), shape_of(policy), VOCABULARY)
    assert generate(target_step(target, policy, drafter), [[5, 6, 7], [9]], sampling) == plain


def test_fp8_on_a_cpu_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = tiny_llama_dir(tmp_path / "tiny")
    with pytest.raises(FlagError, match=r"^--quantization: fp8 needs a GPU; give int8[^\n]*$"):
        load_role(
            f"file://{folder}", None, None, Dtype.AUTO, 0, kv_cache_size(None, None, 1), quantization=Quantization.FP8
        )


def test_a_gpu_without_torchao_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    model = random_llama(1)
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    with pytest.raises(UnsupportedQuantization, match=r"^int8 on a GPU needs torchao; install [^\n]*$"):
        quantize(model, Quantization.INT8)


def test_a_quantised_model_runs_in_the_engine() -> None:
    expected = ModelRunner(random_llama(2))
    found = ModelRunner(random_llama(2), Quantization.INT8)
    assert found.vocabulary_size == VOCABULARY
    (near,), (logits,) = (runner.forward([Rows(runner.new_kv(), [1, 2, 3], range(3))]) for runner in (expected, found))
    assert torch.nn.functional.cosine_similarity(logits, near, dim=-1).min() > 0.99
