"""Drafts of the random pair R behind real gRPC ports of this process, and targets that run against them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field

import grpc
import pytest
from outrider_serving.draft.engine import DraftEngine, LevelReport
from outrider_serving.draft.server import Description, DraftLoop, DraftServicer
from outrider_serving.engine.request import SamplingParams
from outrider_serving.engine.step_time import StepTime
from outrider_serving.engine.thread import EngineThread
from outrider_serving.metrics import DraftMetrics
from outrider_serving.protocol.channel import SERVER_OPTIONS, add_port
from outrider_serving.protocol.identity import Identity
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2_grpc as rpc
from outrider_serving.target.speculation import SpeculationPolicy
from outrider_serving.target.step import StepReport, TargetStep
from prometheus_client import CollectorRegistry

from support.inprocess import sequence_of, target_step
from support.pair import VOCABULARY, random_pair

PAIR = random_pair(0.1)
POLICY = SpeculationPolicy(mode="Always", draft_patience_s=5.0, ngrams=False)
SAMPLING = SamplingParams(max_tokens=60, temperature=0.9, seed=4)
PROMPTS = [[1, 2, 3], [50, 60], [7]]
WAIT_S = 20.0


class WatchedEngine(DraftEngine):
    """Keeps what every forward did, and how many sequences were opened."""

    def __init__(self, max_num_seqs: int) -> None:
        super().__init__(
            random_pair(0.1).draft, max_num_seqs, max_model_len_tokens=1024, level_time=StepTime([(1, 0.01)])
        )
        self.reports: list[LevelReport] = []
        self.opened = 0

    def handle(self, stream: int, message: pb.TargetMessage) -> None:
        before = self.sequences
        super().handle(stream, message)
        self.opened += max(0, self.sequences - before) if message.open else 0

    def step(self) -> LevelReport | None:
        report = super().step()
        if report is not None and report.sequences:
            self.reports.append(report)
        return report


@dataclass
class Served:
    """A draft that is being served; `end` ends it as a crash does."""

    port: int
    engine: WatchedEngine
    loop: DraftLoop
    ends: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def end(self) -> None:
        await self.ends.aclose()


async def serve_draft(
    port: int = 0, fingerprint: str = "same", max_num_seqs: int = 8, identity: Identity | None = None
) -> Served:
    engine = WatchedEngine(max_num_seqs)
    loop = DraftLoop(
        engine,
        DraftMetrics(CollectorRegistry(), "R"),
        on_failure=lambda: pytest.fail("the draft's engine failed"),
    )
    server = grpc.aio.server(options=SERVER_OPTIONS)
    about = Description("R", fingerprint, VOCABULARY, 1024, "float32")
    rpc.add_DraftServicer_to_server(DraftServicer(about, loop), server)
    served = Served(add_port(server, f"127.0.0.1:{port}", identity), engine, loop)
    loop.start(EngineThread())
    await server.start()
    served.ends.push_async_callback(asyncio.to_thread, loop.stop)
    served.ends.push_async_callback(server.stop, grace=None)
    return served


@contextlib.asynccontextmanager
async def draft_server(
    port: int = 0, fingerprint: str = "same", max_num_seqs: int = 8, identity: Identity | None = None
) -> AsyncIterator[Served]:
    """A draft of pair R in this process, behind a real port."""
    served = await serve_draft(port, fingerprint, max_num_seqs, identity)
    try:
        yield served
    finally:
        await served.end()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 what is awaited has no event
            await asyncio.sleep(0.01)


async def run(
    step: TargetStep,
    at: int = -1,
    disturb: Callable[[], Awaitable[None]] | None = None,
    prompts: Many[Many[int]] = PROMPTS,
    sampling: SamplingParams = SAMPLING,
    disturbances: Mapping[int, Callable[[], Awaitable[None]]] | None = None,
) -> tuple[list[list[int]], list[StepReport]]:
    """All prompts to their ends, the engine's steps in a thread of their own; `disturb` before step number `at`, or
    several things, each before the step of its number.
    """
    due = dict(disturbances or {}) if disturb is None else {at: disturb}
    sequences = [sequence_of(step, prompt, sampling) for prompt in prompts]
    for sequence in sequences:
        step.scheduler.add(sequence)
    reports: list[StepReport] = []
    while True:
        if len(reports) in due:
            await due.pop(len(reports))()
        report = await asyncio.to_thread(step.step)
        if report is None:
            return [one.tokens[one.prompt_length :] for one in sequences], reports
        reports.append(report)


async def plain(prompts: Many[Many[int]] = PROMPTS, sampling: SamplingParams = SAMPLING) -> list[list[int]]:
    step = target_step(PAIR.target, SpeculationPolicy(mode="Off"), max_num_seqs=64)
    tokens, _ = await run(step, prompts=prompts, sampling=sampling)
    return tokens
