"""The pool's blocks: however they are taken, shared and given back, none is lost, lent twice or overwritten."""

from __future__ import annotations

from collections import Counter
from unittest.mock import patch

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from outrider_serving.engine import kv_cache
from outrider_serving.engine.kv_cache import SequenceKV
from outrider_serving.engine.kv_pool import BLOCK_TOKENS, KVPool, KVShape, PoolExhausted, blocks_for

SHAPE = KVShape(layers=1, kv_heads=1, head_dim=2, dtype=torch.float32, device=torch.device("cpu"))
TINY = 12


def written(kv: SequenceKV, tokens: list[int]) -> None:
    """Takes the tokens in as a forward would: a row holds its token."""
    kv.reserve(len(tokens))
    slots = kv.slots(range(kv.length, kv.length + len(tokens)))
    kv.pool.keys[0][0, slots] = torch.tensor(tokens, dtype=torch.float32).unsqueeze(1).expand(-1, 2)
    kv.advance(len(tokens))


def read(kv: SequenceKV) -> list[int]:
    """The tokens of all rows, by the runs that attention reads."""
    return [int(row) for low, high in kv.runs(0, kv.length) for row in kv.pool.keys[0][0, low:high, 0]]


class Sequences(RuleBasedStateMachine):
    """Sequences come with one of two beginnings, grow, are compacted and leave, in any order, on a tiny pool."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = KVPool(SHAPE, TINY)
        self.held: list[tuple[SequenceKV, list[int]]] = []

    @rule(beginning=st.sampled_from([1, 2]), length=st.integers(1, 5 * BLOCK_TOKENS), copied=st.integers(0, 4))
    def come(self, beginning: int, length: int, copied: int) -> None:
        tokens = [beginning * 1000 + index for index in range(length)]
        kv = SequenceKV(self.pool)
        with patch.object(kv_cache, "COPIED_BLOCKS", copied):
            shared = kv.share(tokens)
        assert shared < length
        if kv.blocks_missing(length - shared) > self.pool.available:
            with pytest.raises(PoolExhausted):
                kv.reserve(length - shared)
            kv.free()
            return
        written(kv, tokens[shared:])
        kv.publish(tokens)
        self.held.append((kv, tokens))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), rows=st.integers(1, 20), kept=st.lists(st.booleans(), min_size=20, max_size=20))
    def step(self, data: st.DataObject, rows: int, kept: list[bool]) -> None:
        kv, tokens = data.draw(st.sampled_from(self.held))
        if kv.blocks_missing(rows) > self.pool.available:
            return
        before = len(tokens)
        tree = [9000 + row for row in range(rows)]
        written(kv, tree)
        path = [row for row in range(rows) if kept[row]]
        kv.compact(before, [before + row for row in path])
        tokens += [tree[row] for row in path]
        kv.publish(tokens)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        kv, _ = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        kv.free()
        kv.free()

    @invariant()
    def every_sequence_reads_its_own_tokens(self) -> None:
        for kv, tokens in self.held:
            assert read(kv) == tokens

    @invariant()
    def references_are_those_of_the_sequences(self) -> None:
        counted = Counter(block for kv, _ in self.held for block in kv._blocks)
        assert self.pool._references == [counted[block] for block in range(TINY)]
        assert self.pool.referenced == len(counted)
        for kv, tokens in self.held:
            assert len(kv._blocks) == blocks_for(len(tokens))

    def teardown(self) -> None:
        for kv, _ in self.held:
            kv.free()
        assert self.pool.available == TINY
        assert self.pool.usage == 0


TestSequences = Sequences.TestCase
TestSequences.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestSequences.pytestmark = [pytest.mark.long]  # type: ignore[attr-defined]


def sequence(pool: KVPool, tokens: list[int]) -> SequenceKV:
    kv = SequenceKV(pool)
    kv.share(tokens)
    written(kv, tokens[kv.length :])
    kv.publish(tokens)
    return kv


def test_sequences_that_grow_side_by_side_stay_whole_runs() -> None:
    pool = KVPool(SHAPE, 64)
    held = [SequenceKV(pool) for _ in range(4)]
    for step in range(10 * BLOCK_TOKENS):
        for kv in held:
            written(kv, [step])
    assert [len(kv.runs(0, kv.length)) for kv in held] == [1] * 4


def test_a_prompt_that_was_read_before_is_shared_but_for_its_last_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_cache, "COPIED_BLOCKS", 0)
    pool = KVPool(SHAPE, TINY)
    tokens = list(range(2 * BLOCK_TOKENS))
    first = sequence(pool, tokens)
    again, longer = SequenceKV(pool), SequenceKV(pool)
    assert again.share(tokens) == BLOCK_TOKENS
    assert longer.share([*tokens, 5]) == 2 * BLOCK_TOKENS
    assert pool.referenced == 2
    for kv in (first, again, longer):
        kv.free()
    assert pool.usage == 0


def test_a_short_beginning_that_was_read_before_is_copied_so_that_each_sequence_stays_one_run() -> None:
    pool = KVPool(SHAPE, 64)
    beginning = list(range(2 * BLOCK_TOKENS))
    sequences = [sequence(pool, [*beginning, *range(last * 100, last * 100 + 40)]) for last in range(4)]
    assert [len(kv.runs(0, kv.length)) for kv in sequences] == [1] * 4
    assert [read(kv)[: len(beginning)] for kv in sequences] == [beginning] * 4
    again = SequenceKV(pool)
    assert again.share([*beginning, 7]) == len(beginning), "the one that was read first is still known"


def test_another_beginning_shares_nothing_even_where_a_block_is_the_same() -> None:
    pool = KVPool(SHAPE, TINY)
    block = list(range(BLOCK_TOKENS))
    sequence(pool, [*block, *block, 1]).free()
    other = [*reversed(block), *block, 1]
    assert SequenceKV(pool).share(other) == 0


def test_the_pool_forgets_what_was_used_least_lately() -> None:
    pool = KVPool(SHAPE, 4)
    old, new = [1] * BLOCK_TOKENS + [0], [2] * BLOCK_TOKENS + [0]
    sequence(pool, old).free()
    sequence(pool, new).free()
    sequence(pool, old).free()  # used again: now `new` is the older
    big = SequenceKV(pool)
    big.reserve(3 * BLOCK_TOKENS)
    big.free()
    assert SequenceKV(pool).share(new) == 0
    assert SequenceKV(pool).share(old) == BLOCK_TOKENS


def test_rows_that_others_may_share_cannot_be_taken_back() -> None:
    kv = sequence(KVPool(SHAPE, TINY), list(range(2 * BLOCK_TOKENS)))
    with pytest.raises(AssertionError, match="others may share"):
        kv.compact(BLOCK_TOKENS, [])


def test_what_is_discarded_is_asked_for_no_more_and_what_another_holds_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_cache, "COPIED_BLOCKS", 0)
    pool = KVPool(SHAPE, TINY)
    beginning = list(range(1, BLOCK_TOKENS + 1))
    tokens = [*beginning, *beginning, 5]
    stays, goes = sequence(pool, [*beginning, 7]), sequence(pool, tokens)
    own = goes.slots(range(BLOCK_TOKENS, goes.length))
    goes.discard()
    assert read(stays) == [*beginning, 7]
    assert not pool.all_keys[:, :, own].any()
    assert SequenceKV(pool).share(tokens) == BLOCK_TOKENS
    stays.discard()
    assert SequenceKV(pool).share(tokens) == 0
    assert pool.usage == 0
    assert not pool.all_keys.any()


def test_a_block_given_back_twice_is_noticed() -> None:
    pool = KVPool(SHAPE, TINY)
    blocks = pool.allocate(2)
    pool.release(blocks)
    with pytest.raises(AssertionError, match="more often than taken"):
        pool.release(blocks)
