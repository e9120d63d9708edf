"""The target's thread and its asyncio face."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.request import Delta, EngineStopped, QueueFull, Request, RequestError, SamplingParams
from outrider_serving.engine.sampler import Choice
from outrider_serving.engine.thread import EngineThread
from outrider_serving.metrics import TargetMetrics
from outrider_serving.target.engine import TargetEngine
from outrider_serving.target.queue import CompletionRate
from outrider_serving.target.sequence import Sequence
from outrider_serving.target.speculation import SpeculationPolicy
from outrider_serving.target.step import FAILURES_IN_A_ROW, StepReport, TargetStep
from prometheus_client import CollectorRegistry
from support.inprocess import target_step
from support.pair import random_llama
from support.tiny import byte_fallback_tokenizer, tiny_tokenizer
from transformers import PreTrainedTokenizerBase

TOKENIZER = tiny_tokenizer()
CONTEXT = 128
POISON = 77
LOAD = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")


class Running:
    """An engine with what a test wants to look at."""

    def __init__(
        self,
        max_num_seqs: int = 4,
        runner: ModelRunner | None = None,
        max_open_requests: int = 64,
        tokenizer: PreTrainedTokenizerBase = TOKENIZER,
    ) -> None:
        # Each has a pool of its own: what one was stopped amid keeps its blocks.
        runner = runner or ModelRunner(random_llama(2))
        self.registry = CollectorRegistry()
        self.failures: list[bool] = []
        self.step: TargetStep = target_step(runner, SpeculationPolicy(), max_num_seqs=max_num_seqs)
        self.engine = TargetEngine(
            "R",
            runner,
            tokenizer,
            self.step,
            TargetMetrics(self.registry, "R"),
            eos_tokens=frozenset(),
            max_model_len_tokens=CONTEXT,
            max_open_requests=max_open_requests,
            on_failure=lambda: self.failures.append(True),
        )
        self.looked_at: Request | None = None
        self.goes_on = threading.Event()
        self._step, self.step.step = self.step.step, self._held  # type: ignore[method-assign]
        self.engine.start(EngineThread())

    def _held(self) -> StepReport | None:
        """A step, but not before `goes_on` is set where a test looks at what has begun."""
        running = self.step.scheduler.running
        if any(sequence.request is self.looked_at and sequence.output_length for sequence in running):
            assert self.goes_on.wait(20)
        return self._step()

    async def begun(self, asked: Request) -> AsyncIterator[Delta]:
        """An answer whose first token has come, and no more until `goes_on` is set."""
        self.goes_on.clear()
        self.looked_at = asked
        answer = self.engine.generate(asked)
        await anext(answer)
        return answer

    async def tokens(self, prompt: list[int], max_tokens: int = 20) -> list[int]:
        deltas = [delta async for delta in self.engine.generate(request(prompt, max_tokens))]
        assert deltas[-1].finish_reason == "length"
        return [token for delta in deltas for token in delta.tokens]

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"outrider_{name}", {"model_name": "R", **labels}) or 0.0

    async def until_idle(self) -> None:
        """Until no sequence is left and the metrics of the step after which none was are there, all of them."""
        async with asyncio.timeout(20):
            while not self.step.scheduler.idle or any(map(self.metric, LOAD)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)  # what the engine's thread has handed over is taken


@pytest.fixture
def running() -> Iterator[Running]:
    one = Running()
    yield one
    one.engine.stop()


_calls = itertools.count(1)


def request(prompt: list[int], max_tokens: int = 20) -> Request:
    """A call of its own."""
    sampling = SamplingParams(max_tokens=max_tokens, temperature=0.0)
    return Request("test", f"call {next(_calls)}", tuple(prompt), sampling)


async def test_requests_at_once_get_the_tokens_that_each_gets_alone(running: Running) -> None:
    prompts = [[1, 2, 3], [40, 41], [9], [7, 7, 7, 7], [100], [3, 1]]
    together = await asyncio.gather(*(running.tokens(prompt) for prompt in prompts))
    assert together == [await running.tokens(prompt) for prompt in prompts]
    await running.until_idle()
    assert running.metric("requests_total", outcome="length") == 12
    assert running.metric("generation_tokens_total") == 12 * 20


async def test_a_request_beyond_those_that_may_wait_is_refused_and_the_others_are_served() -> None:
    running = Running(max_num_seqs=1, max_open_requests=3)
    try:
        prompts = [[1, 2, 3], [40, 41], [9], [7, 7]]
        *served, refused = await asyncio.gather(*map(running.tokens, prompts), return_exceptions=True)
        assert isinstance(refused, QueueFull)
        assert running.metric("requests_total", outcome="rejected") == 1
        assert running.metric("requests_arrived_total") == len(prompts), "one that was refused would have been work too"
        assert served == [await running.tokens(prompt) for prompt in prompts[:3]]  # each made room again
    finally:
        running.engine.stop()


async def test_an_answer_that_nobody_reads_keeps_no_place_once_it_is_made() -> None:
    running = Running(max_num_seqs=1, max_open_requests=1)
    try:
        unread = await running.begun(request([1, 2, 3]))
        with pytest.raises(QueueFull):
            await running.tokens([9])
        running.goes_on.set()
        await running.until_idle()
        assert await running.tokens([9])
        other = await running.begun(request([5]))
        assert [delta async for delta in unread][-1].finish_reason == "length"
        with pytest.raises(QueueFull):  # what is read at last gives no place back a second time
            await running.tokens([7])
        running.goes_on.set()
        await other.aclose()  # type: ignore[attr-defined]
    finally:
        running.engine.stop()


async def test_a_request_that_is_closed_frees_its_rows_and_lets_the_others_go_on(running: Running) -> None:
    other = running.engine.generate(request([5, 6], max_tokens=60))
    await anext(other)
    closed = await running.begun(request([1, 2, 3], max_tokens=120))
    await closed.aclose()  # type: ignore[attr-defined]
    running.goes_on.set()
    assert sum([len(delta.tokens) async for delta in other]) == 59
    await running.until_idle()
    assert running.metric("requests_total", outcome="cancelled") == 1
    assert running.metric("kv_cache_usage_perc") == 0


async def test_an_answer_that_was_made_and_never_read_counts_once(running: Running) -> None:
    unread = await running.begun(request([1, 2, 3]))
    running.goes_on.set()
    await running.until_idle()
    await unread.aclose()  # type: ignore[attr-defined]
    assert running.metric("requests_total", outcome="length") == 1
    assert running.metric("requests_total", outcome="cancelled") == 0
    assert running.metric("e2e_request_latency_seconds_count") == 1


@pytest.mark.parametrize(("continues", "text"), [(True, " world world"), (False, "world world")])
async def test_a_text_that_is_continued_keeps_its_space_and_a_new_one_has_none(continues: bool, text: str) -> None:
    tokenizer = byte_fallback_tokenizer()
    hello, world = (tokenizer.get_vocab()[token] for token in ("▁Hello", "▁world"))
    running = Running(runner=ModelRunner(random_llama(2, vocabulary=len(tokenizer))), tokenizer=tokenizer)
    sampling = SamplingParams(max_tokens=2, temperature=0.0, logit_bias=((world, 100.0),))
    asked = Request("test", "call", (hello,), sampling, continues_prompt=continues)
    assert "".join([delta.text async for delta in running.engine.generate(asked)]) == text
    running.engine.stop()


async def test_an_answer_ends_where_the_context_does(running: Running) -> None:
    assert len(await running.tokens(list(range(100)), max_tokens=500)) == CONTEXT - 100


async def test_too_long_a_prompt_is_refused_with_both_numbers(running: Running) -> None:
    with pytest.raises(RequestError, match=r"200 tokens.*128") as refused:
        await anext(running.engine.generate(request(list(range(200)))))
    assert refused.value.code == "context_length_exceeded"
    assert running.metric("requests_total", outcome="rejected") == 1
    assert running.metric("requests_arrived_total") == 0, "no replica could have served it"


async def test_a_prompt_that_the_pool_cannot_hold_is_refused_with_the_remedy() -> None:
    runner = ModelRunner(random_llama(2))
    runner.take_memory(3)
    one = Running(runner=runner)
    with pytest.raises(RequestError, match=r"48.*--kv-cache-memory"):
        await anext(one.engine.generate(request([1] * 50)))
    assert len(await one.tokens([1] * 30, max_tokens=100)) == 18
    one.engine.stop()


async def test_an_empty_prompt_is_refused(running: Running) -> None:
    with pytest.raises(RequestError, match="empty"):
        await anext(running.engine.generate(request([])))


async def test_a_step_that_fails_ends_every_request_and_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Running()

    def broken() -> None:
        raise RuntimeError("out of memory")

    stream = await one.begun(request([1, 2, 3]))
    monkeypatch.setattr(one.step, "step", broken)
    one.goes_on.set()
    with pytest.raises(EngineStopped):
        async for _ in stream:
            pass
    assert one.failures == [True]
    with pytest.raises(EngineStopped):
        await anext(one.engine.generate(request([1])))
    assert one.metric("requests_total", outcome="failed") == one.metric("requests_arrived_total") == 2
    assert one.metric("requests_total", outcome="cancelled") == 0


class NoRule(RuntimeError):
    """What a request's own sampling or text might end in."""


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> int:
    """A prompt's first token that fails at the third of the answer's, whoever is served beside it."""
    append = Sequence.append

    def broken(sequence: Sequence, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        taken = append(sequence, choices)
        if sequence.tokens[0] == POISON and sequence.output_length >= 3:
            raise NoRule
        return taken

    monkeypatch.setattr(Sequence, "append", broken)
    return POISON


async def test_a_request_that_fails_by_its_own_doing_ends_alone(running: Running, poison: int) -> None:
    prompts = [[1, 2, 3], [40, 41], [9]]
    expected = [await running.tokens(prompt) for prompt in prompts]
    told: list[int] = []

    async def failing() -> None:
        async for delta in running.engine.generate(request([poison, *range(40)])):
            told.extend(delta.tokens)

    *answers, failure = await asyncio.gather(*map(running.tokens, prompts), failing(), return_exceptions=True)
    assert isinstance(failure, NoRule)
    assert len(told) == 3
    assert answers == expected
    await running.until_idle()
    assert running.failures == []
    assert running.metric("requests_total", outcome="failed") == 1
    assert running.metric("requests_total", outcome="cancelled") == 0


async def test_where_whatever_comes_fails_the_process_ends(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise NoRule

    monkeypatch.setattr(Sequence, "append", broken)
    for _ in range(FAILURES_IN_A_ROW - 1):
        with pytest.raises(NoRule):
            await running.tokens([1, 2, 3])
    assert running.failures == []
    with pytest.raises(EngineStopped):
        await running.tokens([1, 2, 3])
    assert running.failures == [True]


async def test_however_many_choices_of_one_call_fail_the_process_goes_on(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise NoRule

    monkeypatch.setattr(Sequence, "append", broken)
    first = request([1, 2, 3])
    choices = [first, *(replace(first, id=f"test-{index}") for index in range(2 * FAILURES_IN_A_ROW))]

    async def served(choice: Request) -> None:
        async for _ in running.engine.generate(choice):
            pass

    failures = await asyncio.gather(*map(served, choices), return_exceptions=True)
    assert {type(failure) for failure in failures} == {NoRule}
    assert running.failures == []


async def test_failures_that_others_outlive_are_no_fault_of_the_process(running: Running, poison: int) -> None:
    for _ in range(FAILURES_IN_A_ROW + 1):
        with pytest.raises(NoRule):
            await running.tokens([poison])
    assert await running.tokens([9])
    assert running.failures == []


async def test_more_requests_than_places_wait_their_turn() -> None:
    one = Running(max_num_seqs=1)
    answers = await asyncio.gather(*(one.tokens([index]) for index in range(5)))
    assert [len(answer) for answer in answers] == [20] * 5
    one.engine.stop()


def test_who_is_refused_is_told_when_those_before_it_will_have_run() -> None:
    rate = CompletionRate()
    assert rate.retry_after_s(10, 100.0) == 1
    for second in range(10):
        rate.ended(100.0 + 2 * second)
    assert rate.retry_after_s(5, 120.0) == 10
    assert rate.retry_after_s(0, 120.0) == 1
    assert rate.retry_after_s(500, 120.0) == 120
