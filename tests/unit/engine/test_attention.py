"""Packed attention: each family's own model code, over our caches, gives what transformers gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from outrider_serving.engine.attention import ATTENTION
from outrider_serving.engine.kv_cache import SequenceKV
from outrider_serving.engine.kv_pool import BLOCK_TOKENS
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.reach import Reaches, order
from outrider_serving.engine.rows import Rows
from outrider_serving.engine.tree import Tree
from support.pair import VOCABULARY, random_llama
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from unit.engine.test_tree import trees

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3]


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
}
# Windows shorter than the prompt, so that they matter, and longer than the trees are deep, as every real one is.
FAMILIES = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "mistral": {"sliding_window": 10},
    "gemma2": {"sliding_window": 10, "query_pre_attn_scalar": 16},
    "gemma3_text": {"sliding_window": 10, "query_pre_attn_scalar": 16},
}


def family(name: str, attention: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **SMALL, **FAMILIES[name])
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    model.eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


RUNNERS = {name: ModelRunner(family(name, ATTENTION)) for name in FAMILIES}


def prefill(runner: ModelRunner, tokens: list[int]) -> tuple[SequenceKV, torch.Tensor]:
    kv = runner.new_kv()
    (logits,) = runner.forward([Rows(kv, tokens, range(len(tokens)))])
    return kv, logits


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_gives_the_logits_of_its_own_eager_attention(name: str) -> None:
    with torch.no_grad():
        expected = family(name, "eager")(torch.tensor([PROMPT])).logits[0]
    _, logits = prefill(RUNNERS[name], PROMPT)
    assert_close(logits, expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_prompt_in_chunks_is_the_prompt_at_once(name: str) -> None:
    runner = RUNNERS[name]
    _, whole = prefill(runner, PROMPT)
    kv = runner.new_kv()
    runner.forward([Rows(kv, PROMPT[:7], range(7), logits_from=7)])
    (rest,) = runner.forward([Rows(kv, PROMPT[7:], range(7, len(PROMPT)))])
    assert_close(rest, whole[7:])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_tree_gives_each_node_the_logits_of_its_path_alone(name: str) -> None:
    runner = RUNNERS[name]

    @settings(max_examples=15, deadline=None)
    @given(trees(most=8))
    def holds(tree: Tree) -> None:
        check_tree(runner, tree)

    holds()


def check_tree(runner: ModelRunner, tree: Tree) -> None:

    kv, _ = prefill(runner, PROMPT[:-1])
    root = kv.length
    rows = Rows(
        kv,
        [PROMPT[-1], *tree.tokens],
        [root, *(root + depth for depth in tree.depths)],
        visible=tree.attention,
    )
    (logits,) = runner.forward([rows])
    for node in range(len(tree)):
        path = [tree.tokens[ancestor] for ancestor in reversed(list(tree.ancestors(node)))]
        _, alone = prefill(runner, PROMPT + path)
        assert_close(logits[node + 1], alone[-1])


def test_sequences_of_a_batch_do_not_see_one_another() -> None:
    runner = ModelRunner(random_llama(3))
    prompts = [PROMPT, [7], [1, 2, 3, 4, 5]]
    alone = [prefill(runner, prompt)[1] for prompt in prompts]
    batch = [Rows(runner.new_kv(), prompt, range(len(prompt))) for prompt in prompts]
    for together, expected in zip(runner.forward(batch), alone, strict=True):
        assert_close(together, expected)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2"])
@given(lengths=st.lists(st.integers(1, 40), min_size=2, max_size=6), rows=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_two_sequences_that_are_attended_to_together_are_each_as_alone(
    name: str, lengths: list[int], rows: int
) -> None:
    runner = RUNNERS[name]
    new = PROMPT[:rows]
    prompts = [[(index * 7 + token) % VOCABULARY for token in range(length)] for index, length in enumerate(lengths)]
    caches = [prefill(runner, prompt)[0] for prompt in prompts]
    together = runner.forward([Rows(kv, new, range(kv.length, kv.length + rows)) for kv in caches])
    for prompt, logits in zip(prompts, together, strict=True):
        (alone,) = runner.forward([Rows(prefill(runner, prompt)[0], new, range(len(prompt), len(prompt) + rows))])
        assert_close(logits, alone)


def test_sequences_about_as_long_are_attended_to_in_twos() -> None:
    runner = RUNNERS["llama"]
    batch = [
        Rows(prefill(runner, [1] * length)[0], [2] * rows, range(length, length + rows))
        for length, rows in ((30, 1), (5, 1), (31, 1), (6, 2), (33, 1), (7, 1), (29, 1))
    ]
    ordered = [batch[index] for index in order(batch)]
    assert sorted(map(id, ordered)) == sorted(map(id, batch))
    reaches = list(Reaches(runner.pool, window=None, group=2).of(ordered))
    assert [(reach.sequences, reach.rows) for reach in reaches] == [(2, 1), (2, 1), (2, 1), (1, 2)]


def test_masked_rows_of_a_bfloat16_cache_end_with_a_block_and_what_lies_behind_is_not_seen() -> None:
    """Few lengths, since the kernel keeps the code of each; and few numbers of queries but for those of steps."""
    runner = ModelRunner(family("llama", ATTENTION).bfloat16())
    caches = [prefill(runner, [1] * length)[0] for length in (60, 3, 15, 29, 31, 31, 40)]
    batch = [
        Rows(kv, [2] * rows, range(kv.length, kv.length + rows))
        for kv, rows in zip(caches, (2, 2, 2, 2, 2, 40, 70), strict=True)
    ]
    ordered = [batch[index] for index in order(batch)]
    for each in ordered:
        each.kv.reserve(len(each))
    reaches = list(Reaches(runner.pool, window=None, group=2).of(ordered))
    assert {reach.sequences for reach in reaches} == {1, 2}
    masks = [mask for reach in reaches for mask in reach.masks if mask is not None]
    assert masks
    assert all(mask.shape[-1] % BLOCK_TOKENS == 0 for mask in masks)
    assert {mask.shape[-2] for mask in masks} == {2, 2 * 64, 96}
    before = runner.forward(ordered)
    used = {row for each in ordered for row in each.kv.slots(range(each.kv.length))}
    behind = [row for row in range(runner.pool.blocks * BLOCK_TOKENS) if row not in used]
    for each in ordered:
        each.kv.compact(each.kv.length - len(each), [])
    runner.pool.all_keys[:, :, behind] = 100.0
    runner.pool.all_values[:, :, behind] = 100.0
    for after, expected in zip(runner.forward(ordered), before, strict=True):
        torch.testing.assert_close(after, expected, rtol=0, atol=0)


def test_rows_kept_by_compaction_are_the_path_as_if_it_had_been_read_alone() -> None:
    runner = ModelRunner(random_llama(3))
    kv, _ = prefill(runner, PROMPT)
    length = kv.length
    visible = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1]], dtype=np.bool_)
    runner.forward([Rows(kv, [50, 60, 70], [length, length, length + 1], visible=visible)])
    kv.compact(length, [length + 1, length + 2])
    (after,) = runner.forward([Rows(kv, [80], [length + 2])])
    _, expected = prefill(runner, [*PROMPT, 60, 70, 80])
    assert_close(after[-1], expected[-1])


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("piece", [1, 3])
def test_a_cache_in_many_pieces_is_the_cache_in_one(name: str, piece: int) -> None:
    """Runs of one block are gathered, of three blocks merged."""
    runner = RUNNERS[name]
    tokens = [(7 * index) % VOCABULARY for index in range(130)]
    _, whole = prefill(runner, tokens)
    kv = runner.new_kv()
    fences = []
    for _ in range(9 // piece):
        kv.reserve(piece * BLOCK_TOKENS + kv.capacity - kv.length)
        fences.append(runner.pool.allocate(1, after=kv._blocks[-1]))
    assert len(kv.runs(0, len(tokens))) == 9 // piece
    runner.forward([Rows(kv, tokens[:125], range(125), logits_from=125)])
    (rest,) = runner.forward([Rows(kv, tokens[125:], range(125, 130))])
    assert_close(rest, whole[125:])
    visible = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1]], dtype=np.bool_)
    (tree,) = runner.forward([Rows(kv, [50, 60, 70], [130, 130, 131], visible=visible)])
    _, alone = prefill(runner, [*tokens, 60, 70])
    assert_close(tree[2], alone[-1])


def test_a_window_reads_no_row_outside_it() -> None:
    runner = ModelRunner(family("mistral", ATTENTION))
    kv, _ = prefill(runner, PROMPT)
    (before,) = runner.forward([Rows(kv, [5], [16])])
    kv.compact(16, [])
    # What the window of 10 does not reach is spoilt: row 6 is the last that row 16 does not see.
    runner.pool.all_keys[:, :, kv.slots(range(7))] = torch.nan
    (after,) = runner.forward([Rows(kv, [5], [16])])
    assert_close(after, before)


def test_a_long_chunk_and_short_ones_of_a_batch_are_each_as_alone() -> None:
    """More than 64 rows are not folded, few are."""
    runner = ModelRunner(random_llama(3))
    prompts = [[index % VOCABULARY for index in range(100)], PROMPT, [9]]
    alone = [prefill(runner, prompt)[1] for prompt in prompts]
    batch = [Rows(runner.new_kv(), prompt, range(len(prompt))) for prompt in prompts]
    for together, expected in zip(runner.forward(batch), alone, strict=True):
        assert_close(together, expected)


def test_a_cache_keeps_its_rows_when_it_grows() -> None:
    runner = ModelRunner(random_llama(2))
    tokens = [index % VOCABULARY for index in range(600)]
    kv = runner.new_kv()
    for start in range(0, 600, 50):
        (logits,) = runner.forward([Rows(kv, tokens[start : start + 50], range(start, start + 50))])
    _, whole = prefill(runner, tokens)
    assert_close(logits[-1], whole[-1])


def test_a_model_without_our_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="attn_implementation"):
        ModelRunner(random_llama(1, attention="sdpa"))
