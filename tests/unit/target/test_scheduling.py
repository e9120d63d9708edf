"""Who runs when blocks are few, how much of a prompt is read beside others, and that none of it changes a token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outrider_serving.engine.kv_pool import BLOCK_TOKENS
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.request import SamplingParams
from outrider_serving.target.prefill import PrefillPace
from outrider_serving.target.sequence import Sequence
from outrider_serving.target.speculation import SpeculationPolicy
from outrider_serving.target.step import TargetStep
from support.inprocess import HandCarried, draft_engine, generate, sequence_of, shape_of, target_step
from support.pair import VOCABULARY, first_layers, random_llama

TARGET = random_llama(4, 0.1)
ROOMY = ModelRunner(TARGET)
OFF = SpeculationPolicy(mode="Off")
ALWAYS = SpeculationPolicy(mode="Always", max_depth=4, max_nodes=12)
GREEDY = SamplingParams(max_tokens=20, temperature=0.0)


def runner_of(blocks: int, model: object = TARGET) -> ModelRunner:
    runner = ModelRunner(model)  # type: ignore[arg-type]
    runner.take_memory(blocks)
    return runner


def crowded(blocks: int, **options: int) -> TargetStep:
    """A target and a draft that both have few blocks."""
    draft = draft_engine(runner_of(blocks, first_layers(TARGET, 1)))
    return target_step(runner_of(blocks), ALWAYS, HandCarried(draft, shape_of(ALWAYS), VOCABULARY), **options)


def alone(prompt: list[int], sampling: SamplingParams) -> list[int]:
    (tokens,) = generate(target_step(ROOMY, OFF), [prompt], sampling)
    return tokens


def output(sequence: Sequence) -> list[int]:
    return sequence.tokens[sequence.prompt_length :]


SYSTEM = [index % 250 for index in range(3 * BLOCK_TOKENS)]
prompts = st.one_of(
    st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=70),
    st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=20).map(lambda own: SYSTEM + own),
)
arrivals = st.lists(
    st.tuples(
        st.integers(0, 12),  # the step at which it arrives
        prompts,
        st.builds(
            SamplingParams,
            max_tokens=st.integers(1, 30),
            temperature=st.sampled_from([0.0, 1.0]),
            seed=st.integers(0, 3),
        ),
        st.none() | st.integers(1, 20),  # after so many steps its client goes away
    ),
    min_size=1,
    max_size=7,
)


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(arrivals=arrivals, blocks=st.integers(7, 14), budget=st.sampled_from([16, 40, 512]))
def test_few_blocks_change_the_order_and_no_token(
    arrivals: list[tuple[int, list[int], SamplingParams, int | None]], blocks: int, budget: int
) -> None:
    step = crowded(blocks, max_num_seqs=4, max_batched_tokens=budget)
    pool = step._runner.pool
    asked = [(at, leaves, sequence_of(step, prompt, sampling)) for at, prompt, sampling, leaves in arrivals]
    for count in range(2000):
        for at, leaves, sequence in asked:
            if at == count:
                step.scheduler.add(sequence)
            if leaves is not None and at + leaves == count:
                sequence.cancelled = True
        if step.step() is None and count > 12:
            break
    assert step.scheduler.idle
    assert pool.referenced == 0
    for _, _, sequence in asked:
        whole = alone(list(sequence.request.prompt_tokens), sequence.request.sampling)
        got = output(sequence)
        assert got == (whole[: len(got)] if sequence.cancelled else whole)


def test_the_youngest_gives_its_blocks_up_and_comes_back_with_what_it_had() -> None:
    step = target_step(runner_of(6), OFF)
    first, second = (
        sequence_of(step, [start] * 30, SamplingParams(max_tokens=60, temperature=0.0)) for start in (1, 2)
    )
    step.scheduler.add(first)
    step.scheduler.add(second)
    preemptions = 0
    while (report := step.step()) is not None:
        if report.preemptions:
            preemptions += report.preemptions
            assert list(step.scheduler.waiting) == [second]
            assert second.kv.length == 0
            assert second.output_length > 0
        assert first in step.scheduler.running or first.finished
    assert preemptions == 1
    assert output(first) == alone([1] * 30, SamplingParams(max_tokens=60, temperature=0.0))
    assert output(second) == alone([2] * 30, SamplingParams(max_tokens=60, temperature=0.0))


def test_a_tree_that_has_no_room_is_cut_and_nobody_is_preempted_for_it() -> None:
    step = crowded(2)
    step.scheduler.add(sequence := sequence_of(step, [5, 6, 7] * 4, SamplingParams(max_tokens=20, temperature=0.0)))
    while (report := step.step()) is not None:
        assert not report.preemptions
    assert output(sequence) == alone([5, 6, 7] * 4, GREEDY)


def test_a_request_waits_until_there_are_blocks_for_it_and_one_more_for_each_that_runs() -> None:
    step = target_step(runner_of(5), OFF)
    for prompt in ([1] * 40, [2] * 25):
        step.scheduler.add(sequence_of(step, prompt, GREEDY))
    step.step()
    assert (len(step.scheduler.running), len(step.scheduler.waiting)) == (1, 1)
    while step.step() is not None:
        pass
    assert step._runner.pool.referenced == 0


@pytest.mark.long
@settings(max_examples=40, deadline=None)
@given(
    shared=st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=100),
    ends=st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=30), min_size=1, max_size=3),
    temperature=st.sampled_from([0.0, 1.0]),
)
def test_a_prefix_that_is_found_again_changes_no_token(
    shared: list[int], ends: list[list[int]], temperature: float
) -> None:
    sampling = SamplingParams(max_tokens=12, temperature=temperature, seed=4)
    step = crowded(64)
    for end in [ends[0], *ends]:
        (tokens,) = generate(step, [shared + end], sampling)
        assert tokens == alone(shared + end, sampling)


def test_a_prefix_that_is_found_again_is_not_read_again() -> None:
    step = target_step(runner_of(64), OFF)
    reports = []
    for end in ([1, 2], [3, 4, 5]):
        step.scheduler.add(sequence_of(step, SYSTEM + end, SamplingParams(max_tokens=1, temperature=0.0)))
        reports.append(step.step())
    first, second = reports
    assert first is not None
    assert second is not None
    assert (first.prompt_tokens, first.prefix_queries, first.prefix_hits) == (len(SYSTEM) + 2, len(SYSTEM) + 2, 0)
    assert (second.prompt_tokens, second.prefix_queries, second.prefix_hits) == (3, len(SYSTEM) + 3, len(SYSTEM))


def test_an_answer_that_comes_back_in_the_next_prompt_is_found_too() -> None:
    step = target_step(runner_of(64), OFF)
    prompt = [9] * 20
    (answer,) = generate(step, [prompt], SamplingParams(max_tokens=40, temperature=0.0))
    step.scheduler.add(sequence_of(step, [*prompt, *answer, 7], GREEDY))
    report = step.step()
    assert report is not None
    # Of 60 tokens the last had no row yet: three blocks of 16 were full.
    assert report.prefix_hits == 48


def linear(tokens: np.ndarray, sequences: int = 1) -> np.ndarray:  # noqa: ARG001 as StepTime.predict has it
    """A step of 30 ms, and 0.2 ms more for each token."""
    return 0.03 + 0.0002 * tokens


@pytest.mark.parametrize("streams", [496, 500, 511, 512, 600])
def test_a_prompt_goes_on_by_a_block_beside_as_many_streams_as_tokens_are_allowed(streams: int) -> None:
    assert PrefillPace(linear, 512).room(streams, 1) == BLOCK_TOKENS


def test_a_prompt_alone_takes_the_whole_budget_and_beside_streams_as_much_as_doubles_their_step() -> None:
    pace = PrefillPace(linear, 512)
    assert pace.room(0, 1) == 512
    assert pace.room(8, 1) == pytest.approx(158, abs=1)
    assert pace.room(510, 1) == BLOCK_TOKENS


def test_where_more_wait_for_their_first_token_than_for_the_next_more_is_read() -> None:
    pace = PrefillPace(linear, 512)
    assert pace.room(8, 8) == pace.room(8, 1) < pace.room(8, 16) < pace.room(8, 24)
    assert pace.room(1, 31) == 511


def test_a_chunk_shrinks_while_steps_take_longer_than_foreseen_and_never_below_a_block() -> None:
    pace = PrefillPace(linear, 512)
    rooms = []
    for _ in range(40):
        rooms.append(pace.room(8, 1))
        rows = 8 + rooms[-1]
        # Reading a chunk of a long prompt costs three times what so many tokens do, in this world.
        pace.observe(rows, 9, float(linear(np.array(8.0)) + 3 * 0.0002 * (rows - 8)))
    assert rooms[-1] < rooms[0]
    steady = rooms[-1]
    assert 0.03 + 3 * 0.0002 * steady < 3 * float(linear(np.array(8.0)))
    for _ in range(40):
        pace.observe(8 + pace.room(8, 1), 9, 60.0)
    assert pace.room(8, 1) == BLOCK_TOKENS


class Steady(PrefillPace):
    """Learns nothing: the steps of a test take what they take."""

    def observe(self, rows: int, sequences: int, seconds: float) -> None: ...


def test_a_long_prompt_is_read_in_chunks_while_every_stream_gets_a_token_each_step() -> None:
    step = target_step(runner_of(256), OFF, max_batched_tokens=512)
    # By a model of time in place of this machine's.
    step._pace = Steady(linear, 512)
    streams = [sequence_of(step, [start, 2, 3], SamplingParams(max_tokens=100, temperature=0.0)) for start in range(4)]
    for stream in streams:
        step.scheduler.add(stream)
    step.step()
    long = sequence_of(step, [index % 200 for index in range(900)], SamplingParams(max_tokens=2, temperature=0.0))
    step.scheduler.add(long)
    while long.output_length == 0:
        before = [stream.output_length for stream in streams]
        report = step.step()
        assert report is not None
        assert 0 < report.prompt_tokens < 512
        assert [stream.output_length for stream in streams] == [length + 1 for length in before]
