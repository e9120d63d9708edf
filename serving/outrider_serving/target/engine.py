"""The target's engine thread, and its asyncio face: requests go in, deltas come out."""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import aclosing

import structlog
from transformers import PreTrainedTokenizerBase

from outrider_serving.engine.detokenizer import Detokenizer
from outrider_serving.engine.kv_pool import BLOCK_TOKENS
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.ranks import RankDied
from outrider_serving.engine.request import Delta, EngineStopped, QueueFull, Request, RequestError
from outrider_serving.engine.thread import EngineThread
from outrider_serving.metrics import RequestTimer, TargetMetrics
from outrider_serving.target.ngram import NGramIndex
from outrider_serving.target.queue import CompletionRate
from outrider_serving.target.sequence import Sequence
from outrider_serving.target.step import TargetStep

log = structlog.get_logger()

Arrive = Callable[[Delta | Exception], None]

IDLE_POLL_S = 0.5


class TargetEngine:
    """A `Generator` (see engine/request.py). The engine thread runs the steps; nothing else touches model, cache or
    sequences.
    """

    def __init__(
        self,
        model_name: str,
        runner: ModelRunner,
        tokenizer: PreTrainedTokenizerBase,
        step: TargetStep,
        metrics: TargetMetrics,
        eos_tokens: frozenset[int],
        max_model_len_tokens: int,
        max_open_requests: int,
        on_failure: Callable[[], object],
    ) -> None:
        """max_open_requests: those that run at once and those that may wait, together."""
        self._model_name = model_name
        self._runner = runner
        self._tokenizer = tokenizer
        self._step = step
        self._metrics = metrics
        self._eos_tokens = eos_tokens
        self._max_model_len_tokens = max_model_len_tokens
        self._max_open_requests = max_open_requests
        self._open: set[int] = set()  # sequences that run or wait
        self._rate = CompletionRate()
        self._on_failure = on_failure
        self._pool_tokens = runner.pool.blocks * BLOCK_TOKENS
        self._inbox: queue.SimpleQueue[Sequence | None] = queue.SimpleQueue()
        self._ids = itertools.count(1)
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._loop: Future[None] | None = None

    @property
    def model_name(self) -> str:
        return self._model_name

    @property
    def max_model_len_tokens(self) -> int:
        return self._max_model_len_tokens

    @property
    def vocabulary_size(self) -> int:
        return self._runner.vocabulary_size

    @property
    def max_open_requests(self) -> int:
        return self._max_open_requests

    def start(self, thread: EngineThread) -> None:
        """`thread` is busy with the steps from now on."""
        self._loop = thread.submit(self._run)

    def stop(self) -> None:
        """Returns after the step that is under way."""
        self._stopping.set()
        self._inbox.put(None)
        if self._loop is not None:
            self._loop.result()

    async def generate(self, request: Request) -> AsyncIterator[Delta]:
        length = len(request.prompt_tokens)
        if not length or length >= self._max_model_len_tokens:
            self._metrics.rejected()
        if not length:
            raise RequestError("the prompt is empty; give at least one token")
        if length >= self._max_model_len_tokens:
            raise RequestError(
                f"the prompt has {length} tokens and the model's context {self._max_model_len_tokens}; shorten it",
                "context_length_exceeded",
            )
        if length >= self._pool_tokens:
            self._metrics.rejected()
            raise RequestError(
                f"the prompt has {length} tokens and the KV cache holds {self._pool_tokens}; shorten it, or raise "
                "spec.target.kvCache.memory (--kv-cache-memory)",
                "context_length_exceeded",
            )
        self._metrics.arrived()
        if len(self._open) >= self._max_open_requests:
            self._metrics.rejected()
            after_s = self._rate.retry_after_s(len(self._open), time.monotonic())
            raise QueueFull(f"{len(self._open)} requests run or wait already", after_s)
        if not self._open:
            self._rate.began(time.monotonic())
        number = next(self._ids)
        self._open.add(number)
        try:
            # Closed by hand: left to the garbage collector, a request that was cancelled would keep its blocks a while.
            async with aclosing(self._deltas(number, request)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            self._leave(number)

    def _leave(self, number: int) -> None:
        """The sequence neither runs nor waits any more. On the event loop."""
        if number in self._open:
            self._open.remove(number)
            self._rate.ended(time.monotonic())

    async def _deltas(self, number: int, request: Request) -> AsyncGenerator[Delta, None]:
        """The deltas of a request that was taken in."""
        deltas: asyncio.Queue[Delta | Exception] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        timer = self._metrics.start_request()

        def arrive(delta: Delta | Exception) -> None:
            if isinstance(delta, Exception) or delta.finish_reason is not None:
                # Not when it has been read: a client that does not read would keep others out of an idle engine.
                self._leave(number)
            deltas.put_nowait(delta)

        sequence = self._sequence(
            number,
            request,
            emit=lambda delta: self._emit(delta, timer, loop, arrive),
            abort=lambda error: self._abort(error, timer, loop, arrive),
        )
        self._inbox.put(sequence)
        # Put first, looked after: what the ending thread did not see in its inbox, sees that it has ended.
        if self._ended.is_set():
            timer.ended("failed")
            raise EngineStopped("the engine has stopped; send the request again")
        finished = False
        try:
            while not finished:
                delta = await deltas.get()
                if isinstance(delta, Exception):
                    raise delta
                finished = delta.finish_reason is not None
                yield delta
        finally:
            if not finished:
                sequence.cancelled = True
                timer.ended("cancelled")  # unless it had failed

    @staticmethod
    def _emit(
        delta: Delta,
        timer: RequestTimer,
        loop: asyncio.AbstractEventLoop,
        arrive: Arrive,
    ) -> None:
        timer.delta(len(delta.tokens), delta.finish_reason)
        _hand_over(loop, arrive, delta)

    @staticmethod
    def _abort(error: Exception, timer: RequestTimer, loop: asyncio.AbstractEventLoop, arrive: Arrive) -> None:
        timer.ended("failed")
        _hand_over(loop, arrive, error)

    def _sequence(
        self, number: int, request: Request, emit: Callable[[Delta], None], abort: Callable[[Exception], None]
    ) -> Sequence:
        before = request.prompt_tokens if request.continues_prompt else ()
        return Sequence(
            id=number,
            request=request,
            detokenizer=Detokenizer(self._tokenizer, request.sampling.stop, before),
            kv=self._runner.new_kv(),
            eos_tokens=self._eos_tokens,
            vocabulary_size=self._runner.vocabulary_size,
            max_model_len_tokens=min(self._max_model_len_tokens, self._pool_tokens),
            emit=emit,
            abort=abort,
            calibration=self._step.speculation.calibration(request),
            ngrams=NGramIndex(),
        )

    def _run(self) -> None:
        scheduler, speculation = self._step.scheduler, self._step.speculation
        try:
            while not self._stopping.is_set():
                self._take_in(wait=scheduler.idle)
                report = self._step.step()
                if report is not None:
                    self._metrics.record(report, speculation.goodput_gain, speculation.draft_gain)
                self._metrics.set_load(len(scheduler.running), len(scheduler.waiting), self._runner.pool.usage)
        except RankDied as error:
            log.error("engine failed", reason=str(error))
            self._on_failure()
        except Exception:
            # A step that failed halfway leaves caches that cannot be trusted: the process ends, and is started anew.
            log.exception("engine failed")
            self._on_failure()
        finally:
            self._ended.set()
            self._take_in(wait=False)
            for sequence in [*scheduler.running, *scheduler.waiting]:
                sequence.abort(EngineStopped("the engine stopped; send the request again"))

    def _take_in(self, wait: bool) -> None:
        """Everything that has arrived; `wait` for something when nothing runs."""
        try:
            sequence = self._inbox.get(timeout=IDLE_POLL_S) if wait else self._inbox.get_nowait()
            while True:
                if sequence is not None:
                    self._step.scheduler.add(sequence)
                sequence = self._inbox.get_nowait()
        except queue.Empty:
            return


def _hand_over(loop: asyncio.AbstractEventLoop, arrive: Arrive, delta: Delta | Exception) -> None:
    """From the engine's thread. The loop may have closed while the process ends."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(arrive, delta)
