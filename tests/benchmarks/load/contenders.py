"""What is compared under load, as processes: up at once and asleep but for the one that runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.counters import moved
from benchmarks.errors import BenchError
from benchmarks.hf import HfWorker
from benchmarks.identity import Bench
from benchmarks.load.clients import Clients
from benchmarks.load.latencies import Batch, Stream
from benchmarks.load.points import Contender
from benchmarks.load.workload import Request
from benchmarks.machine import DTYPE
from benchmarks.pods import Pods
from benchmarks.systems import Mode, Pair, resource
from benchmarks.watch import until_idle

BATCHING = "benchmarks.load.batching_worker"
# Of each role: 36,000 tokens of pair Q's target, 45,000 of model S.
KV_CACHE, KV_CACHE_BYTES = "1Gi", 2**30


class Backend(Protocol):
    """A contender that is up and waits."""

    def pids(self) -> list[int]: ...

    def problem(self) -> str | None:
        """What is wrong with its processes, as a person reads it; None while they are there."""
        ...

    async def run(self, requests: Sequence[Request], streams: int, temperature: float) -> Batch:
        """All requests, `streams` at a time. Raises BenchError."""
        ...

    async def stop(self) -> None: ...


class Served:
    """Outrider's target, and its draft, asked over HTTP. A `Backend`."""

    def __init__(self, pods: Pods, most_streams: int) -> None:
        self.pods = pods
        self.clients = Clients(pods.plan.url, pods.plan.name, most_streams)

    def pids(self) -> list[int]:
        return self.pods.pids()

    def problem(self) -> str | None:
        return self.pods.problem()

    async def run(self, requests: Sequence[Request], streams: int, temperature: float) -> Batch:
        before = await self.pods.counters()
        answered, wall_s = await self.clients.batch(requests, streams, temperature)
        # The last step is counted after its tokens were sent.
        await until_idle(self.pids())
        return Batch(answered, wall_s, moved(before, await self.pods.counters()))

    async def stop(self) -> None:
        await self.clients.close()
        await self.pods.stop()


class Batching:
    """transformers' continuous batching. A `Backend`."""

    def __init__(self, log: Path) -> None:
        self._worker = HfWorker(log)

    async def start(self, target: Path) -> None:
        await self._worker.start(BATCHING, [f"--target={target}", f"--dtype={DTYPE}"])

    def pids(self) -> list[int]:
        return self._worker.pids()

    def problem(self) -> str | None:
        return self._worker.problem()

    async def run(self, requests: Sequence[Request], streams: int, temperature: float) -> Batch:
        request = {
            "requests": [{"prompt": each.prompt, "tokens": each.tokens} for each in requests],
            "streams": streams,
            "temperature": temperature,
            "seed": requests[0].seed,
        }
        answer = await self._worker.ask(request)
        answered = [Stream(each["sent_s"], tuple(each["arrivals_s"]), each["tokens"]) for each in answer["streams"]]
        return Batch(answered, answer["wall_s"])

    async def stop(self) -> None:
        await self._worker.stop()


@dataclass(frozen=True)
class Sizes:
    """What the servers are started for."""

    streams: int
    sequence_tokens: int


def outrider(name: str, pair: Pair, mode: Mode, sizes: Sizes, bench: Bench, kv_cache: str = KV_CACHE) -> Pods:
    """Target, and draft where the mode runs one, on shared cores."""
    model = resource(
        name,
        f"hf://{pair.target}",
        None if pair.draft is None else f"hf://{pair.draft}",
        mode=mode,
        dtype=DTYPE,
        draft_dtype=DTYPE,
        max_model_len_tokens=sizes.sequence_tokens,
        max_num_seqs=sizes.streams,
        kv_cache_memory=kv_cache,
    )
    return Pods(model, bench.mirror, bench.folder)


MODES: Mapping[Contender, Mode] = {Contender.ON: "Auto", Contender.OFF: "Off"}


class Contenders:
    """Starts them one after another: what a server measures of itself at its start needs a quiet machine."""

    def __init__(self, pair: Pair, sizes: Sizes, bench: Bench) -> None:
        self.backends: dict[Contender, Backend] = {}
        self.served: dict[Contender, Served] = {}
        self.commands: dict[str, Any] = {}
        self._pair = pair
        self._sizes = sizes
        self._bench = bench
        self._stops: list[Backend] = []

    def pids(self) -> list[int]:
        return sorted({pid for backend in self.backends.values() for pid in backend.pids()})

    def check(self) -> None:
        """Raises BenchError when a process of any of them has ended."""
        for backend in self.backends.values():
            if (problem := backend.problem()) is not None:
                raise BenchError(problem)

    async def start(self, wanted: Collection[Contender], say: Callable[[str], None]) -> None:
        """Raises BenchError, or LocalError when this machine cannot run one of them."""
        for contender in Contender:
            if contender in wanted:
                say(f"starting {contender.value}")
                self.backends[contender] = await self._start(contender)

    async def _start(self, contender: Contender) -> Backend:
        if contender is Contender.HF:
            batching = Batching(self._bench.folder / "hf.log")
            self._stops.append(batching)
            await batching.start(self._bench.path(self._pair.target))
            return batching
        served = Served(
            outrider(contender.value, self._pair, MODES[contender], self._sizes, self._bench), self._sizes.streams
        )
        self._stops.append(served)
        self.commands[contender.value] = served.pods.commands()
        await served.pods.start()
        self.served[contender] = served
        return served

    async def stop(self) -> None:
        for backend in self._stops:
            await backend.stop()
        self._stops.clear()
