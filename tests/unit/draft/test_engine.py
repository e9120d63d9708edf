"""The draft's loop: many streams and sequences, and no message that one of them sends harms another."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outrider_serving.draft.engine import DraftEngine
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.step_time import StepTime
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb
from support.pair import VOCABULARY, random_llama

RUNNER = ModelRunner(random_llama(1))
SHAPE = pb.TreeShape(max_depth=3, max_branches=2, max_nodes=6, min_probability=0.0)
SAMPLING = pb.Sampling(temperature=0.0, top_p=1.0)
BUDGET = pb.Budget(max_nodes=6, target_step_ms=1e6)


def engine(max_num_seqs: int = 4, max_model_len_tokens: int = 64) -> DraftEngine:
    return DraftEngine(RUNNER, max_num_seqs, max_model_len_tokens, StepTime([(1, 0.01)]))


def opening(sequence: int, tokens: list[int], epoch: int = 1, **changed: object) -> pb.TargetMessage:
    fields = {"sampling": SAMPLING, "shape": SHAPE, "budget": BUDGET, **changed}
    return pb.TargetMessage(open=[pb.Open(sequence=sequence, epoch=epoch, tokens=tokens, **fields)])  # type: ignore[arg-type]


def committing(sequence: int, position: int, tokens: list[int], epoch: int = 1) -> pb.TargetMessage:
    return pb.TargetMessage(
        commit=[pb.Commit(sequence=sequence, epoch=epoch, position=position, tokens=tokens, budget=BUDGET)]
    )


def settled(one: DraftEngine) -> dict[int, pb.DraftMessage]:
    """Runs until there is nothing more to do; all that was said, a stream each."""
    said: dict[int, pb.DraftMessage] = {}
    while (report := one.step()) is not None:
        for stream, message in report.messages.items():
            said.setdefault(stream, pb.DraftMessage()).MergeFrom(message)
    return said


def test_an_opened_sequence_gets_a_tree_that_ends_as_final() -> None:
    one = engine()
    one.handle(1, opening(7, [1, 2, 3]))
    trees = settled(one)[1].tree
    assert trees[-1].final
    assert {(tree.sequence, tree.epoch, tree.base_position) for tree in trees} == {(7, 1, 3)}
    assert 0 < len(trees[-1].tokens) <= 6


def test_a_commit_moves_the_base() -> None:
    one = engine()
    one.handle(1, opening(7, [1, 2, 3]))
    settled(one)
    one.handle(1, committing(7, 3, [4, 5]))
    last = settled(one)[1].tree[-1]
    assert last.base_position == 5
    assert last.final


def test_a_target_that_asks_for_no_nodes_lets_the_draft_rest() -> None:
    one = engine()
    one.handle(1, opening(7, [1, 2, 3], budget=pb.Budget(max_nodes=0)))
    assert one.step() is None


def test_a_level_that_costs_more_than_it_earns_is_not_grown() -> None:
    def levels(target_step_ms: float) -> int:
        one = DraftEngine(RUNNER, 4, 64, StepTime([(1, 1.0)]), clock=lambda: 0.0)
        one.handle(1, opening(1, [1, 2, 3], budget=pb.Budget(max_nodes=6, target_step_ms=target_step_ms)))
        count = 0
        while (report := one.step()) is not None:
            count += report.sequences > 0
        return count

    assert levels(target_step_ms=1.0) < levels(target_step_ms=1e7)


def test_a_tree_is_the_smaller_the_dearer_its_nodes_are_to_verify() -> None:
    def nodes(target_node_ms: float) -> int:
        one = engine()
        budget = pb.Budget(max_nodes=6, target_step_ms=1e6, target_node_ms=target_node_ms)
        one.handle(1, opening(7, [1, 2, 3], budget=budget))
        return len(settled(one)[1].tree[-1].tokens)

    assert nodes(target_node_ms=0) == nodes(target_node_ms=1) == 6
    assert nodes(target_node_ms=1e6) < nodes(target_node_ms=2e5) < 6


def test_a_target_that_asks_for_fewer_nodes_gets_a_smaller_tree() -> None:
    one = engine()
    one.handle(1, opening(7, [1, 2, 3]))
    settled(one)
    few = pb.Commit(sequence=7, epoch=1, position=3, tokens=[4], budget=pb.Budget(max_nodes=2, target_step_ms=1e6))
    one.handle(1, pb.TargetMessage(commit=[few]))
    assert len(settled(one)[1].tree[-1].tokens) == 2


def test_a_tree_is_no_deeper_than_what_may_still_come() -> None:
    one = engine()
    one.handle(1, opening(7, [1, 2, 3], budget=pb.Budget(max_nodes=6, max_depth=1, target_step_ms=1e6)))
    assert set(settled(one)[1].tree[-1].parents) == {0}


def test_streams_do_not_see_one_anothers_sequences() -> None:
    one = engine()
    one.handle(1, opening(7, [1, 2, 3]))
    one.handle(2, opening(7, [9, 8]))
    said = settled(one)
    assert said[1].tree[-1].base_position == 3
    assert said[2].tree[-1].base_position == 2
    one.drop_stream(1)
    assert one.sequences == 1


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (opening(1, []), "without tokens"),
        (opening(1, [VOCABULARY]), "outside the vocabulary"),
        (opening(1, [1], sampling=pb.Sampling(temperature=-1, top_p=1)), "out of range"),
        (opening(1, [1], sampling=pb.Sampling(top_p=1, presence_penalty=float("nan"))), "presence_penalty"),
        (opening(1, [1], sampling=pb.Sampling(top_p=1, biased_tokens=[1])), "differ in length"),
        (opening(1, list(range(65))), "maxModelLen"),
        (committing(1, 9, [1]), "commit at 9"),
        (committing(1, 3, []), "without tokens"),
        (committing(1, 3, [VOCABULARY + 5]), "outside the vocabulary"),
    ],
)
def test_a_message_that_breaks_the_protocol_ends_its_sequence_only(message: pb.TargetMessage, reason: str) -> None:
    one = engine()
    one.handle(1, opening(1, [1, 2, 3]))
    one.handle(1, opening(2, [4, 5]))
    settled(one)
    one.handle(1, message)
    said = settled(one)[1]
    assert [reject.sequence for reject in said.reject] == [1]
    assert reason in said.reject[0].reason
    assert not said.reject[0].reopen
    one.handle(1, committing(2, 2, [6]))
    assert settled(one)[1].tree[-1].sequence == 2


def test_a_commit_to_a_sequence_that_is_not_known_asks_for_an_open() -> None:
    one = engine()
    one.handle(1, committing(5, 3, [1]))
    (reject,) = settled(one)[1].reject
    assert reject.reopen


def test_a_full_draft_says_what_to_raise_and_takes_the_next_once_one_is_closed() -> None:
    one = engine(max_num_seqs=1)
    one.handle(1, opening(1, [1]))
    one.handle(1, opening(2, [1]))
    assert "spec.draft.maxNumSeqs" in settled(one)[1].reject[0].reason
    one.handle(1, pb.TargetMessage(close=[pb.Close(sequence=1)]))
    one.handle(1, opening(2, [1], epoch=2))
    assert settled(one)[1].tree[-1].sequence == 2


def engine_of(blocks: int, clock: Callable[[], float]) -> DraftEngine:
    runner = ModelRunner(random_llama(1))
    runner.take_memory(blocks)
    return DraftEngine(runner, 16, 1024, StepTime([(1, 0.01)]), clock=clock)


def test_a_full_draft_drops_the_sequence_that_rested_longest_and_tells_its_target_to_open_it_anew() -> None:
    now = [0.0]
    one = engine_of(6, lambda: now[0])
    for sequence in (1, 2):
        one.handle(1, opening(sequence, [sequence] * 30))
        settled(one)
        now[0] += 10.0
    one.handle(1, committing(1, 30, [4]))
    now[0] += 10.0
    one.handle(2, opening(3, [3] * 30))
    said = settled(one)
    assert [(reject.sequence, reject.reopen) for reject in said[1].reject] == [(2, True)]
    assert said[2].tree[-1].sequence == 3


def test_a_draft_full_of_sequences_at_work_refuses_the_next_with_the_remedy() -> None:
    one = engine_of(8, lambda: 0.0)
    for sequence in (1, 2):
        one.handle(1, opening(sequence, [sequence] * 47))
        assert settled(one)[1].tree[-1].final
    one.handle(1, opening(3, [3] * 47))
    said = settled(one)[1]
    (reject,) = said.reject
    assert (reject.sequence, reject.reopen) == (3, False)
    assert "spec.draft.kvCache" in reject.reason
    one.handle(1, committing(1, 47, [4]))
    assert settled(one)[1].tree[-1].sequence == 1


def test_a_prompt_that_the_whole_pool_cannot_hold_is_refused_for_good() -> None:
    one = engine_of(4, lambda: 0.0)
    one.handle(1, opening(1, [1] * 80))
    (reject,) = settled(one)[1].reject
    assert (reject.full, reject.reopen) == (False, False)
    assert "spec.draft.kvCache" in reject.reason


@pytest.mark.long
@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6), blocks=st.integers(2, 8))
def test_however_few_blocks_a_draft_has_it_goes_on_and_loses_none(lengths: list[int], blocks: int) -> None:
    ticks = itertools.count()
    one = engine_of(blocks, lambda: 1.5 * next(ticks))
    tokens = {sequence: [sequence] * length for sequence, length in enumerate(lengths)}
    for _ in range(6):
        for sequence, known in tokens.items():
            one.handle(1, opening(sequence, known))
            settled(one)
            one.handle(1, committing(sequence, len(known), [7, 8]))
            known += [7, 8]
        settled(one)
    one.drop_stream(1)
    assert one._runner.pool.referenced == 0


numbers = st.integers(0, 2**32 - 1) | st.integers(0, 5)
messages = st.builds(
    pb.TargetMessage,
    open=st.lists(
        st.builds(
            pb.Open,
            sequence=st.integers(0, 3),
            epoch=st.integers(0, 3),
            tokens=st.lists(numbers, max_size=5),
            prompt_tokens=numbers,
            sampling=st.builds(
                pb.Sampling,
                temperature=st.floats(width=32) | st.sampled_from([0.0, 1.0]),
                top_p=st.floats(width=32) | st.just(1.0),
                top_k=numbers,
                min_p=st.floats(width=32) | st.just(0.0),
                presence_penalty=st.floats(width=32) | st.just(1.0),
                frequency_penalty=st.floats(width=32) | st.just(0.0),
                repetition_penalty=st.floats(width=32) | st.just(1.5),
                biased_tokens=st.lists(numbers, max_size=2),
                biases=st.lists(st.floats(width=32) | st.just(1.0), max_size=2),
                min_tokens=numbers,
                end_tokens=st.lists(numbers, max_size=3) | st.just(range(VOCABULARY)),
            ),
            shape=st.builds(
                pb.TreeShape,
                max_depth=numbers,
                max_branches=numbers,
                max_nodes=numbers,
                min_probability=st.floats(width=32),
            ),
            budget=st.builds(
                pb.Budget, max_nodes=numbers, target_step_ms=st.floats(0, 100), target_node_ms=st.floats(width=32)
            ),
        ),
        max_size=2,
    ),
    commit=st.lists(
        st.builds(
            pb.Commit,
            sequence=st.integers(0, 3),
            epoch=st.integers(0, 3),
            position=st.integers(0, 6),
            tokens=st.lists(numbers, max_size=3),
            budget=st.builds(pb.Budget, max_nodes=numbers),
        ),
        max_size=2,
    ),
    close=st.lists(st.builds(pb.Close, sequence=st.integers(0, 3)), max_size=1),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(messages, max_size=6))
def test_no_message_stops_the_engine(sent: list[pb.TargetMessage]) -> None:
    one = engine()
    for message in sent:
        one.handle(1, message)
        for _ in range(4):
            one.step()
    one.handle(2, opening(99, [1, 2]))
    answer = next(report.messages[2] for report in iter(one.step, None) if report and 2 in report.messages)
    assert answer.tree or "maxNumSeqs" in answer.reject[0].reason
