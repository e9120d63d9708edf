"""A draft's short list: the same logits for what is listed, nothing else proposed, and what is seen joins it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from outrider_serving.engine import short_list
from outrider_serving.engine.attention import ATTENTION
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.quantization import Quantization
from outrider_serving.engine.request import SamplingParams
from outrider_serving.engine.rows import Rows
from outrider_serving.engine.short_list import ShortList
from outrider_serving.target.speculation import SpeculationPolicy
from support.inprocess import HandCarried, draft_engine, generate, shape_of, target_step
from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY = 120
LISTED, ADDED, SEEN = 40, 8, 6


@pytest.fixture(autouse=True)
def small_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("LISTED", LISTED), ("ADDED", ADDED), ("SEEN", SEEN)):
        monkeypatch.setattr(short_list, name, size)


def model(dtype: torch.dtype = torch.float32, tied: bool = True) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=tied,
    )
    config._attn_implementation = ATTENTION
    made = LlamaForCausalLM(config)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    torch.nn.Module.to(made, dtype)
    made.eval()
    return made


def logits(runner: ModelRunner) -> torch.Tensor:
    (rows,) = runner.forward([Rows(runner.new_kv(), [5, 6, 7], range(3))])
    return rows.float()


def short(runner: ModelRunner) -> ShortList:
    assert runner.short_list is not None
    return runner.short_list


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("quantization", [None, Quantization.INT8])
def test_listed_tokens_have_the_logits_they_have_in_the_whole_layer(
    dtype: torch.dtype, quantization: Quantization | None
) -> None:
    whole, listed = (ModelRunner(model(dtype), quantization, drafts=drafts) for drafts in (False, True))
    short(listed).read([50, 3, 70])
    expected, found = logits(whole), logits(listed)
    known = [*range(LISTED), 50, 70, *range(VOCABULARY - ADDED, VOCABULARY)]
    near = 0.03 if quantization or dtype is torch.bfloat16 else 1e-5
    assert (found[:, known] - expected[:, known]).norm() <= near * expected[:, known].norm()
    unknown = [token for token in range(VOCABULARY) if token not in known]
    assert torch.isneginf(found[:, unknown]).all()


def test_while_too_many_are_missed_the_layer_is_whole_and_then_short_again() -> None:
    runner = ModelRunner(model(), drafts=True)
    expected = logits(ModelRunner(model()))
    late = range(LISTED, VOCABULARY - ADDED)
    for _ in range(3):
        short(runner).answered(late)
    torch.testing.assert_close(logits(runner), expected)
    for _ in range(20):
        short(runner).answered(range(LISTED))
    assert torch.isneginf(logits(runner)).any()


@given(texts=st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=12), max_size=12))
@settings(max_examples=60, deadline=None)
def test_the_list_has_what_was_seen_last_and_counts_what_it_lacked(texts: list[list[int]]) -> None:
    embedding = torch.nn.Embedding(VOCABULARY, 4)
    listed = ShortList(embedding)
    seen: list[int] = []
    for text in texts:
        for token in text:
            late = LISTED <= token < VOCABULARY - ADDED
            assert listed.answered([token]) == (late and token not in seen)
            if late:
                seen = [*(each for each in seen if each != token), token][-SEEN:]
    listed.whole = False
    hidden = torch.randn(1, 4)
    with torch.no_grad():
        found = listed(hidden)[0]
        expected = (hidden @ embedding.weight.T)[0]
    known = {*range(LISTED), *seen, *range(VOCABULARY - ADDED, VOCABULARY)}
    assert {token for token, logit in enumerate(found.tolist()) if logit > -torch.inf} == known
    torch.testing.assert_close(found[sorted(known)], expected[sorted(known)])


def test_a_layer_that_shares_no_weight_or_is_small_stays_whole() -> None:
    assert ModelRunner(model(tied=False), drafts=True).short_list is None
    assert ModelRunner(model()).short_list is None
    short_list.LISTED = VOCABULARY
    assert ModelRunner(model(), drafts=True).short_list is None


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_target_says_what_it_says_whatever_its_draft_has_listed(temperature: float) -> None:
    target = ModelRunner(model())
    drafting = ModelRunner(model(), drafts=True)
    sampling = SamplingParams(max_tokens=40, temperature=temperature, seed=3)
    prompts = [[5, 6, 7], [60, 61, 50]]
    plain = generate(target_step(target, SpeculationPolicy(mode="Off")), prompts, sampling)
    policy = SpeculationPolicy(mode="Always", ngrams=False)
    engine = draft_engine(drafting)
    step = target_step(target, policy, HandCarried(engine, shape_of(policy), VOCABULARY))
    assert generate(step, prompts, sampling) == plain
    said = [token for answer in plain for token in answer]
    assert any(short(drafting)._lacks(token) for token in said)
    commits, hits, unlisted = engine.take_commits()
    assert 0 < hits <= commits
    assert unlisted > 0
