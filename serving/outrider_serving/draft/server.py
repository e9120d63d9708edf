"""The draft's gRPC face, and the loop that runs its engine."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import grpc
import structlog

from outrider_serving.draft.engine import DraftEngine
from outrider_serving.draft.outbox import Outbox
from outrider_serving.engine.thread import EngineThread
from outrider_serving.metrics import DraftMetrics
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2_grpc as rpc

log = structlog.get_logger()

IDLE_POLL_S = 0.5
DRAIN_POLL_S = 0.05
UNTOLD = -1


class DraftLoop:
    """Runs a DraftEngine in the engine thread. Streams hand messages in and are handed messages on their own
    event loop.
    """

    def __init__(self, engine: DraftEngine, metrics: DraftMetrics, on_failure: Callable[[], object]) -> None:
        self._engine = engine
        self._metrics = metrics
        self._on_failure = on_failure
        # What the engine is to do next, in its own thread.
        self._inbox: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._outboxes: dict[int, Callable[[pb.DraftMessage], None]] = {}
        self._told: dict[int, int] = {}
        self._ids = itertools.count(1)
        self._stopping = threading.Event()
        self._loop: Future[None] | None = None

    @property
    def free_sequences(self) -> int:
        return 0 if self._engine.draining else self._engine.free_sequences

    @property
    def draining(self) -> bool:
        return self._engine.draining

    async def drain(self, longest_s: float, linger_s: float = 0.0) -> None:
        """Takes no more sequences, tells the targets to move theirs, and returns when they have or `longest_s` is over.

        Targets that find this draft by a name come back for as long as the name leads here. So it stays for `linger_s`
        too, unless all have left before.
        """
        begun_s = asyncio.get_running_loop().time()
        self._inbox.put(self._start_draining)
        await _until(lambda: self._engine.draining and not self._engine.sequences, begun_s + longest_s)
        await _until(lambda: not self._outboxes, begun_s + linger_s)

    def start(self, thread: EngineThread) -> None:
        """`thread` is busy with the engine from now on."""
        self._loop = thread.submit(self._run)

    def stop(self) -> None:
        self._stopping.set()
        self._inbox.put(_nothing)
        if self._loop is not None:
            self._loop.result()

    def open_stream(self, deliver: Callable[[pb.DraftMessage], None]) -> int:
        """`deliver` is called from the engine's thread."""
        stream = next(self._ids)
        self._outboxes[stream] = deliver
        self._inbox.put(partial(self._told.setdefault, stream, UNTOLD))
        return stream

    def receive(self, stream: int, message: pb.TargetMessage) -> None:
        self._inbox.put(partial(self._engine.handle, stream, message))

    def close_stream(self, stream: int) -> None:
        self._outboxes.pop(stream, None)
        self._inbox.put(partial(self._forget, stream))

    def _forget(self, stream: int) -> None:
        self._told.pop(stream, None)
        self._engine.drop_stream(stream)

    def _start_draining(self) -> None:
        self._engine.draining = True

    def _run(self) -> None:
        try:
            busy = False
            while not self._stopping.is_set():
                self._take_in(wait=not busy)
                busy = self._step()
        except Exception:
            # The draft's state is a cache: a new process rebuilds it from the targets' Opens.
            log.exception("engine failed")
            self._on_failure()

    def _take_in(self, wait: bool) -> None:
        try:
            arrived = self._inbox.get(timeout=IDLE_POLL_S) if wait else self._inbox.get_nowait()
            while True:
                arrived()
                arrived = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _step(self) -> bool:
        report = self._engine.step()
        self._metrics.record(
            self._engine.sequences, report.tokens if report else 0, report.forward_s if report else 0.0
        )
        self._metrics.committed(*self._engine.take_commits())
        messages = report.messages if report else {}
        self._add_places(messages)
        for stream, message in messages.items():
            deliver = self._outboxes.get(stream)
            if deliver is not None:
                deliver(message)
        return report is not None

    def _add_places(self, messages: dict[int, pb.DraftMessage]) -> None:
        for stream, told in self._told.items():
            places = self._engine.places(stream)
            if places != told:
                message = messages.setdefault(stream, pb.DraftMessage())
                message.max_sequences = self._told[stream] = places
                message.draining = self._engine.draining


def _nothing() -> None:
    """Wakes the loop."""


async def _until(holds: Callable[[], bool], deadline_s: float) -> None:
    """Or until the event loop's clock shows `deadline_s`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(deadline_s):
            while not holds():  # noqa: ASYNC110 the engine's thread and its streams have no event here
                await asyncio.sleep(DRAIN_POLL_S)


@dataclass(frozen=True)
class Description:
    """What Describe answers; the free capacity is asked of the engine each time."""

    model: str
    tokenizer_fingerprint: str
    vocabulary_size: int
    max_model_len_tokens: int
    dtype: str


class DraftServicer(rpc.DraftServicer):
    """One coroutine a stream in each direction; the work is the thread's."""

    def __init__(self, description: Description, loop: DraftLoop) -> None:
        self._description = description
        self._loop = loop

    async def Describe(
        self,
        request: pb.DescribeRequest,
        context: grpc.aio.ServicerContext[pb.DescribeRequest, pb.DescribeResponse],
    ) -> pb.DescribeResponse:
        about = self._description
        return pb.DescribeResponse(
            model=about.model,
            tokenizer_fingerprint=about.tokenizer_fingerprint,
            vocabulary_size=about.vocabulary_size,
            max_model_len_tokens=about.max_model_len_tokens,
            dtype=about.dtype,
            free_sequences=self._loop.free_sequences,
        )

    async def Speculate(
        self,
        request_iterator: AsyncIterator[pb.TargetMessage],
        context: grpc.aio.ServicerContext[pb.TargetMessage, pb.DraftMessage],
    ) -> AsyncIterator[pb.DraftMessage]:
        loop = asyncio.get_running_loop()
        outbox = Outbox()
        stream = self._loop.open_stream(lambda message: _hand_over(loop, outbox, message))
        reader = asyncio.create_task(self._read(stream, request_iterator, outbox))
        log.info("target connected", stream=stream, peer=context.peer())
        try:
            while (message := await outbox.get()) is not None:
                yield message
        finally:
            reader.cancel()
            self._loop.close_stream(stream)
            log.info("target gone", stream=stream)

    async def _read(
        self,
        stream: int,
        messages: AsyncIterator[pb.TargetMessage],
        outbox: Outbox,
    ) -> None:
        try:
            async for message in messages:
                self._loop.receive(stream, message)
        finally:
            outbox.end()


def _hand_over(loop: asyncio.AbstractEventLoop, outbox: Outbox, message: pb.DraftMessage) -> None:
    """From the engine's thread. The loop may have closed while the process ends."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(outbox.put, message)
