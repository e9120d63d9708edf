"""One load benchmark from start to end: every point through every contender, and the JSON after each."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from outrider_operator.local.cores import machine_cores
from outrider_operator.local.mirror import model_mirror
from outrider_serving import loading
from outrider_serving.cli import FlagError
from outrider_serving.models.cache import size_bytes

from benchmarks import machine, tables
from benchmarks import report as reports
from benchmarks.errors import BenchError
from benchmarks.fleet import PROCESS_BYTES
from benchmarks.identity import Bench
from benchmarks.load import batching_worker, long_prompt
from benchmarks.load.contenders import KV_CACHE_BYTES, Contenders, Sizes
from benchmarks.load.estimate import Estimate, Job, work_of
from benchmarks.load.latencies import Batch, Measured, tok_s
from benchmarks.load.long_prompt import RUNNING_STREAMS, RUNNING_TOKENS, Stall
from benchmarks.load.points import LONG_PROMPT, MIXED, Contender, Point, Scale, order, plan
from benchmarks.load.report import Result, build
from benchmarks.load.tables import show
from benchmarks.load.workload import Request, Workload
from benchmarks.prompts import questions_of
from benchmarks.screen import Screen, duration
from benchmarks.session import not_prepared
from benchmarks.systems import PAIR_S, Cores, Pair
from benchmarks.watch import read, shares, until_idle

WARM_UP_TOKENS = 8


@dataclass(frozen=True)
class Settings:
    """The command line, checked."""

    pair: Pair
    json: Path
    prompts: Path
    scale: Scale
    loads: tuple[int, ...]
    contenders: tuple[Contender, ...]
    temperatures: tuple[float, ...]
    only: tuple[str, ...]
    minutes: float


class Session:
    """Runs what the settings ask for."""

    def __init__(self, settings: Settings) -> None:
        """Raises FlagError when the models or the prompts are not to be had."""
        self._settings = settings
        mirror = model_mirror(None, os.environ)
        if mirror is None:
            raise FlagError("--pair", not_prepared(settings.pair))
        self._screen = Screen(tables.console())
        folder = Path(tempfile.mkdtemp(prefix="outrider-load-"))
        self._bench = Bench(mirror, folder, Cores.split(machine_cores()), self._screen.say)
        self._workload = self._read_workload()
        self._categories = self._choose()
        self._points = plan(
            settings.scale, settings.loads, self._categories, settings.contenders, settings.temperatures
        )
        streams = max([point.streams for point in self._points] + [RUNNING_STREAMS + 1])
        self._contenders = Contenders(settings.pair, Sizes(streams, settings.scale.longest_tokens), self._bench)
        # By round and point: other numbers in front of the prompts each time, the same for every contender.
        self._requests = {(0, point): self._workload.requests(point, settings.scale.tokens) for point in self._points}
        self._estimate = Estimate({point: work_of(requests) for (_, point), requests in self._requests.items()})
        self._machine = machine.describe()
        self._measured: dict[Point, dict[Contender, list[Measured]]] = {point: {} for point in self._points}
        self._stalls: dict[Contender, Stall] = {}

    async def run(self) -> None:
        """Measures, writes and shows. Raises BenchError, or LocalError when this machine cannot run a contender."""
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        self._introduce()
        complete = False
        try:
            with self._screen:
                await self._measure_all()
            complete = True
        finally:
            await self._contenders.stop()
            content = self._save(complete=complete)
            show(self._screen.console, content)
            what = "measured" if complete else "stopped; what was measured is"
            self._screen.console.print(f"{what}: {self._settings.json}", highlight=False, soft_wrap=True)

    async def _measure_all(self) -> None:
        self._check_memory()
        await self._contenders.start(self._settings.contenders, self._screen.say)
        self._screen.say("warming up")
        await self._warm_up()
        self._screen.say(f"{len(self._points)} points")
        started_s = time.monotonic()
        if LONG_PROMPT in self._categories:
            await self._measure_long_prompt()
        rounds = 0
        # A round more while a whole one still fits.
        while rounds == 0 or (rounds + 1) / rounds * (time.monotonic() - started_s) < 60 * self._settings.minutes:
            await self._measure_round(rounds)
            rounds += 1

    async def _measure_round(self, round_: int) -> None:
        jobs = [
            (contender, point) for index, point in enumerate(self._points) for contender in order(point, index + round_)
        ]
        self._screen.begin(len(jobs))
        for point in self._points:
            if (round_, point) not in self._requests:
                self._requests[round_, point] = self._workload.requests(point, self._settings.scale.tokens)
        for index, job in enumerate(jobs):
            measured = await self._measure(job, round_)
            self._measured[job[1]].setdefault(job[0], []).append(measured)
            self._estimate.took(job, measured.batch.wall_s)
            what = f"{job[1].label}: {job[0].value} {tok_s([measured]) or 0.0:.1f} tok/s"
            self._screen.step(what, index + 1, len(jobs), self._estimate.left_s(jobs[index + 1 :]))
            self._save(complete=False)

    async def _warm_up(self) -> None:
        """Every contender at its largest batch, uncounted: first forwards of a size cost more than later ones."""
        streams = max([point.streams for point in self._points], default=RUNNING_STREAMS)
        for contender, backend in self._contenders.backends.items():
            for temperature in self._settings.temperatures:
                point = Point(MIXED, streams, temperature, streams, (contender,))
                await backend.run(self._workload.requests(point, WARM_UP_TOKENS), streams, temperature)

    async def _measure(self, job: Job, round_: int) -> Measured:
        """One batch, and who used the processor meanwhile. Raises BenchError when an answer has another length."""
        contender, point = job
        backend = self._contenders.backends[contender]
        requests = self._requests[round_, point]
        watched = [*self._contenders.pids(), os.getpid()]
        self._contenders.check()
        if not await until_idle(self._contenders.pids()):
            raise BenchError("a contender that waits does not sleep; look for it with `top` and start again")
        before = read(watched)
        batch = await backend.run(requests, point.streams, point.temperature)
        others, foreign = shares(before, read(watched), {*backend.pids(), os.getpid()})
        _check_lengths(point, contender, requests, batch)
        return Measured(batch, others, foreign)

    async def _measure_long_prompt(self) -> None:
        point = Point(MIXED, RUNNING_STREAMS, 0.0, RUNNING_STREAMS, ())
        for contender, served in self._contenders.served.items():
            self._screen.say(f"a prompt of {self._settings.scale.long_prompt_tokens} tokens: {contender.value}")
            running = self._workload.requests(point, RUNNING_TOKENS)
            self._stalls[contender] = await long_prompt.measure(served.clients, running, self._workload.long_prompt())
            await until_idle(self._contenders.pids())
            self._save(complete=False)

    def _check_memory(self) -> None:
        """Raises BenchError: with too little, weights of those that wait would be read from disk again."""
        pair, wanted = self._settings.pair, self._settings.contenders
        target_bytes, draft_bytes = (
            size_bytes(self._bench.path(model)) if model else 0 for model in (pair.target, pair.draft)
        )
        processes = len(wanted) + (pair.draft is not None)
        weights = len(wanted) * machine.weights_bytes(target_bytes) + machine.weights_bytes(draft_bytes)
        needed = target_bytes + draft_bytes + weights + processes * (PROCESS_BYTES + KV_CACHE_BYTES)  # and the files
        free = psutil.virtual_memory().available
        if free < needed:
            have = f"needs {needed / 2**30:.0f} GiB of free memory, of which there are {free / 2**30:.0f}"
            raise BenchError(f"pair {pair.name} {have}; end other programs, or give fewer --systems")

    def _read_workload(self) -> Workload:
        settings = self._settings
        try:
            tokenizer = loading.load_tokenizer(self._bench.path(settings.pair.target))
        except ValueError as error:
            raise FlagError("--pair", str(error)) from None
        questions = questions_of(settings.prompts, copying=settings.pair is PAIR_S)
        return Workload(questions, tokenizer, settings.scale)

    def _choose(self) -> list[str]:
        """The categories wanted, LONG_PROMPT among them. Raises FlagError naming an unknown one."""
        known = [*self._workload.categories, *([LONG_PROMPT] if self._settings.scale.long_prompt_tokens else [])]
        for category in self._settings.only:
            if category not in known:
                raise FlagError("--only", f"no category {category}; choose from {', '.join(known)}")
        return [category for category in known if category in (self._settings.only or known)]

    def _introduce(self) -> None:
        settings, say = self._settings, self._screen.say
        pair = settings.pair
        say(f"pair {pair.name}: {pair.target}, drafted by {pair.drafted_by}, {machine.DTYPE}")
        say(f"prompts of {settings.prompts}; logs: {self._bench.folder}")
        if settings.minutes:
            say(f"as many rounds as fit into {duration(60 * settings.minutes)}, one at least")

    def _save(self, *, complete: bool) -> dict[str, Any]:
        results = [self._result(point) for point in self._points]
        run = [result for result in results if result.measured]
        content = build(self._settings.pair.name, run, self._stalls, complete=complete)
        content |= {"machine": self._machine, "settings": self._describe()}
        reports.write_json(self._settings.json, content)
        return content

    def _result(self, point: Point) -> Result:
        requests = self._requests[0, point]
        prompt = median(len(each.prompt) for each in requests)
        return Result(point, self._measured[point], round(prompt), round(median(each.tokens for each in requests)))

    def _describe(self) -> dict[str, Any]:
        settings, scale = self._settings, self._settings.scale
        return {
            "target": settings.pair.target,
            "draft": settings.pair.draft,
            "dtype": machine.DTYPE,
            "tokens": scale.tokens,
            "streams": list(settings.loads),
            "systems": [contender.value for contender in settings.contenders],
            "categories": self._categories,
            "trace_divisor": scale.trace_divisor,
            "longest_tokens": scale.longest_tokens,
            "kv_cache_bytes": KV_CACHE_BYTES,
            "prompts_file": settings.prompts.name,
            "minutes": settings.minutes or None,
            "cores": self._bench.cores.all,
            "hf": {
                "attention": batching_worker.ATTENTION,
                "page_tokens": batching_worker.PAGE_TOKENS,
                "max_batch_tokens": batching_worker.MAX_BATCH_TOKENS,
            },
            "commands": self._contenders.commands,
        }


def _check_lengths(point: Point, contender: Contender, requests: Sequence[Request], batch: Batch) -> None:
    given = sum(stream.tokens for stream in batch.streams)
    wanted = sum(each.tokens for each in requests)
    if given != wanted:
        raise BenchError(f"{point.label}: {contender.value} gave {given} tokens, not {wanted}: no fair comparison")
