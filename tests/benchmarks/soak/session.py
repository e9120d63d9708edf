"""One soak from start to end: the servers, their clients, and who watches their memory."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from outrider_operator.local.cores import machine_cores
from outrider_operator.local.mirror import model_mirror
from outrider_serving import loading
from outrider_serving.cli import FlagError
from rich.text import Text

from benchmarks import machine, tables
from benchmarks.errors import BenchError
from benchmarks.identity import Bench
from benchmarks.load.clients import Clients, Received, Refused
from benchmarks.load.contenders import Sizes, outrider
from benchmarks.pods import Pods
from benchmarks.prompts import LONGEST_TOKENS, chat_tokens, questions_of
from benchmarks.report import write_json
from benchmarks.screen import Screen
from benchmarks.session import not_prepared
from benchmarks.soak.report import Counts, Sample, build
from benchmarks.soak.requests import LONGEST_ANSWER_TOKENS, LONGEST_PATIENCE_S, ending_of, request_body
from benchmarks.systems import PAIR_S, Cores, Pair

SAMPLE_S = 5.0
SHOW_EVERY = 6  # samples
# Until every size of batch was seen once; of a short run a fifth.
WARM_UP_S = 120.0
# Less than the streams would take at once: blocks are given up and read anew, and all of the pool has been touched, and
# so is resident, by the end of the warm-up.
KV_CACHE = "320Mi"
EMPTY_S = 10.0


@dataclass(frozen=True)
class Settings:
    pair: Pair
    json: Path
    prompts: Path
    streams: int
    minutes: float
    seed: int

    @property
    def warm_up_s(self) -> float:
        return min(WARM_UP_S, 60 * self.minutes / 5)


class Soak:
    """One soak from start to end."""

    def __init__(self, settings: Settings) -> None:
        """Raises FlagError when the models or the prompts are not to be had."""
        self._settings = settings
        mirror = model_mirror(None, os.environ)
        if mirror is None:
            raise FlagError("--pair", not_prepared(settings.pair))
        self._screen = Screen(tables.console())
        folder = Path(tempfile.mkdtemp(prefix="outrider-soak-"))
        self._folder = folder
        bench = Bench(mirror, folder, Cores.split(machine_cores()), self._screen.say)
        self._prompts = self._read_prompts(bench)
        sizes = Sizes(settings.streams, LONGEST_TOKENS + LONGEST_ANSWER_TOKENS)
        self._pods: Pods = outrider("soak", settings.pair, "Auto", sizes, bench, KV_CACHE)
        self._clients = Clients(self._pods.plan.url, self._pods.plan.name, settings.streams)
        self._machine = machine.describe()
        self._samples: list[Sample] = []
        self._counts = Counts()
        self._left_running: float | None = None
        self._start_s = 0.0

    def _read_prompts(self, bench: Bench) -> list[tuple[int, ...]]:
        try:
            tokenizer = loading.load_tokenizer(bench.path(self._settings.pair.target))
        except ValueError as error:
            raise FlagError("--pair", str(error)) from None
        questions = questions_of(self._settings.prompts, copying=self._settings.pair is PAIR_S)
        encoded = [chat_tokens(tokenizer, question.text) for question in questions]
        return [prompt for prompt in encoded if len(prompt) <= LONGEST_TOKENS]

    async def run(self) -> bool:
        """Whether all was well. Raises BenchError, or LocalError when this machine cannot run the servers."""
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        complete = False
        try:
            with self._screen:
                self._screen.say(f"starting pair {self._settings.pair.name}; logs: {self._folder}")
                await self._pods.start()
                self._start_s = time.monotonic()
                await self._soak()
                await self._empty()
            complete = True
        finally:
            await self._clients.close()
            await self._pods.stop()
            content = self._save(complete=complete)
            self._show(content)
        return bool(content["passed"])

    async def _soak(self) -> None:
        self._screen.begin(round(60 * self._settings.minutes))
        deadline_s = self._start_s + 60 * self._settings.minutes
        rngs = [random.Random(self._settings.seed * 1000 + index) for index in range(self._settings.streams)]
        try:
            async with asyncio.TaskGroup() as group:
                for rng in rngs:
                    group.create_task(self._client(rng, deadline_s))
                group.create_task(self._watch(deadline_s))
        except* BenchError as problems:
            raise problems.exceptions[0] from None

    async def _client(self, rng: random.Random, deadline_s: float) -> None:
        while time.monotonic() < deadline_s:
            ending = ending_of(rng)
            left_s = max(0.0, deadline_s - time.monotonic())  # at the end all clients go away at once
            patience_s = min(rng.uniform(0.0, LONGEST_PATIENCE_S), left_s) if ending == "cancel" else left_s
            received = Received(0.0)
            try:
                async with asyncio.timeout(patience_s):
                    await self._clients.answer(request_body(rng, self._prompts, ending), received, self._start_s)
                usages = [event["usage"] for _, event in received.events() if event.get("usage")]
                if not usages:
                    raise Refused("a stream ended before its end")
                self._counts.tokens += usages[-1]["completion_tokens"]
                self._counts.ended["completed"] += 1
            except TimeoutError:
                self._counts.ended["cancelled"] += 1
            except Refused as problem:
                self._counts.failed(str(problem))
                await asyncio.sleep(1.0)  # a server that is gone must not be asked in a busy loop

    async def _watch(self, deadline_s: float) -> None:
        """Samples memory. Raises BenchError when a process has ended."""
        while time.monotonic() < deadline_s:
            if (problem := self._pods.problem()) is not None:
                raise BenchError(problem)
            at_s = time.monotonic() - self._start_s
            self._samples.append(Sample(at_s, resident_bytes(self._pods)))
            if len(self._samples) % SHOW_EVERY == 0:
                sizes = self._samples[-1].bytes_by_role.items()
                memory = ", ".join(f"{role} {size / 2**20:.0f} MiB" for role, size in sizes)
                what = f"{self._counts.ended.total()} requests, {self._counts.ended['error']} errors, {memory}"
                total_s = round(60 * self._settings.minutes)
                self._screen.step(what, min(round(at_s), total_s), total_s, deadline_s - time.monotonic())
                self._save(complete=False)
            await asyncio.sleep(SAMPLE_S)

    async def _empty(self) -> None:
        """All have left: so must their requests."""
        deadline_s = time.monotonic() + EMPTY_S
        while self._left_running != 0 and time.monotonic() < deadline_s:
            await asyncio.sleep(0.2)
            self._left_running = await self._pods.gauge("num_requests_running")

    def _save(self, *, complete: bool) -> dict[str, Any]:
        content = build(self._samples, self._counts, self._settings.warm_up_s, self._left_running, complete=complete)
        content |= {
            "pair": self._settings.pair.name,
            "machine": self._machine,
            "settings": {
                "target": self._settings.pair.target,
                "draft": self._settings.pair.draft,
                "streams": self._settings.streams,
                "minutes": self._settings.minutes,
                "warm_up_s": self._settings.warm_up_s,
                "seed": self._settings.seed,
                "commands": self._pods.commands(),
            },
        }
        write_json(self._settings.json, content)
        return content

    def _show(self, content: dict[str, Any]) -> None:
        counts, say = content["requests"], self._screen.console.print
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        say(f"{content['tokens']} tokens; requests: {kinds}", highlight=False)
        say(Text.assemble(tables.mark(content["no_errors"]), " no error"))
        for problem in content["errors"]:
            say(f"  {problem}", highlight=False, soft_wrap=True)
        for role, memory in content["memory"].items():
            size, share = memory["median_bytes"] / 2**20, memory["deviation_share"]
            text = f" {role}: resident memory {size:.0f} MiB, at most {100 * share:.1f} % off after the warm-up"
            say(Text.assemble(tables.mark(memory["flat"]), text))
        say(Text.assemble(tables.mark(content["emptied"]), " no request is left when all clients have gone"))
        say(
            f"{'passed' if content['passed'] else 'not passed'}: {self._settings.json}", highlight=False, soft_wrap=True
        )


def resident_bytes(pods: Pods) -> dict[str, int]:
    """By role; a process that has ended is left out."""
    found = {}
    for role, pid in pods.pid_by_role().items():
        try:
            found[role] = psutil.Process(pid).memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return found
