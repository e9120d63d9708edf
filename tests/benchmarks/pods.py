"""Outrider's processes of one resource, started as `outrider up` starts them, one after another."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.local.cores import machine_cores
from outrider_operator.local.files import replace_file
from outrider_operator.local.plan import Machine, Ports, plan_run
from outrider_operator.local.ports import LOOPBACK
from outrider_operator.local.role import Phase, Role

from benchmarks.counters import FIRST_TOKEN, moved, parse_counters, parse_gauge
from benchmarks.errors import BenchError
from benchmarks.prompts import Prompt
from benchmarks.runs import Answer
from benchmarks.watch import until_idle

LOADING_S = 600.0
CONNECTING_S = 30.0
ANSWER_S = 900.0


class Pods:
    """Draft and target of one resource. A `Backend`."""

    def __init__(self, model: SpeculativeModel, mirror: str, folder: Path, cores: Sequence[int] | None = None) -> None:
        """folder: for logs and temporary files. cores: pin the target there although it shares nothing.

        Raises LocalError when a command is not installed or the cores do not suffice.
        """
        http, draft_grpc, draft_http = _free_ports(3)
        machine = Machine(
            mirror=mirror,
            cores=machine_cores(),
            folder=folder / model.metadata.name,
            user_env=os.environ,
        )
        self.plan = replace(plan_run(model, machine), port=http)
        ports = {"target": Ports(http), "draft": Ports(draft_http, draft_grpc)}
        processes = [template.process(1, ports[template.role]) for template in self.plan.templates]
        addresses = [process.grpc_address for process in processes if process.grpc_address is not None]
        replace_file(self.plan.drafts_file, "\n".join(addresses))
        if cores is not None:
            processes = [replace(process, cores=tuple(cores)) for process in processes]
        self._changed = asyncio.Event()
        # The draft first: what each measures of itself before it is ready is true only while the other is idle.
        self._roles = [
            Role(
                process,
                dict(os.environ) | process.env,
                folder / f"{self.plan.name}-{process.name}.log",
                lambda _: self._changed.set(),
            )
            for process in reversed(processes)
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self._http = httpx.AsyncClient(base_url=self.plan.url, timeout=ANSWER_S, trust_env=False)

    def pids(self) -> list[int]:
        return [role.status.pid for role in self._roles if role.status.pid is not None]

    def pid_by_role(self) -> dict[str, int]:
        return {role.plan.role: role.status.pid for role in self._roles if role.status.pid is not None}

    def problem(self) -> str | None:
        for role in self._roles:
            if role.status.run != 1 or role.status.phase in (Phase.FAILED, Phase.WAITING):
                return f"{self._name(role)}: its process ended ({role.status.reason}); its log: {role.log}"
        return None

    def commands(self) -> list[str]:
        """The command lines, the draft's first; as taskset would pin them, where they are pinned."""
        return [_pinned(role.plan.cores) + " ".join(role.plan.argv) for role in self._roles]

    async def start(self) -> None:
        """Until both are ready and connected. Raises BenchError."""
        for role in self._roles:
            self._tasks.append(asyncio.create_task(role.supervise()))
            await self._ready(role)
        if len(self._roles) > 1:
            await self._connected()

    async def _ready(self, role: Role) -> None:
        deadline_s = time.monotonic() + LOADING_S
        while role.status.phase is not Phase.READY:
            if role.status.phase in (Phase.FAILED, Phase.WAITING):
                raise BenchError(f"{self._name(role)}: {role.status.reason}; its log: {role.log}")
            if time.monotonic() > deadline_s:
                raise BenchError(f"{self._name(role)}: not ready in {LOADING_S:g} s; its log: {role.log}")
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), 1.0)
            except TimeoutError:
                continue

    async def _connected(self) -> None:
        deadline_s = time.monotonic() + CONNECTING_S
        draft: dict[str, Any] = {}
        while draft.get("state") != "Connected":
            if draft.get("state") == "Incompatible" or time.monotonic() > deadline_s:
                raise BenchError(f"{self.plan.name}: its target has no draft: {draft.get('reason')}")
            await asyncio.sleep(0.1)
            try:
                draft = (await self._http.get("/health")).json()["speculation"]["draft"]
            except httpx.HTTPError as error:
                raise self._no_answer(error) from None

    def _name(self, role: Role) -> str:
        return f"{self.plan.name}, {role.plan.role}"

    async def run(self, prompt: Prompt, tokens: int, temperature: float) -> Answer:
        before = await self.counters()
        answer = await self._stream(prompt, tokens, temperature)
        # The last step is counted after its tokens were sent.
        await until_idle(self.pids())
        counters = moved(before, await self.counters())
        if (problem := self.problem()) is not None:
            raise BenchError(problem)
        first_s = counters.pop(FIRST_TOKEN, answer.first_s)
        return replace(answer, first_s=first_s, counters=counters)

    async def _stream(self, prompt: Prompt, tokens: int, temperature: float) -> Answer:
        """As a client of the API sees it: from the request to the last chunk with text."""
        texts: list[str] = []
        given = 0
        first_s = last_s = 0.0
        started_s = time.perf_counter()
        try:
            async with self._http.stream(
                "POST", "/v1/completions", json=self._request(prompt, tokens, temperature)
            ) as response:
                async for chunk in _chunks(response):
                    if chunk["choices"]:
                        last_s = time.perf_counter() - started_s
                        first_s = first_s or last_s
                        texts.append(chunk["choices"][0]["text"])
                    elif chunk["usage"]:
                        given = chunk["usage"]["completion_tokens"]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise self._no_answer(error) from None
        return Answer("".join(texts), given, first_s, 1, last_s)

    def _request(self, prompt: Prompt, tokens: int, temperature: float) -> dict[str, Any]:
        return {
            "model": self.plan.name,
            "prompt": prompt.tokens,
            "max_tokens": tokens,
            "temperature": temperature,
            "seed": seed_of(prompt),
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    async def counters(self) -> dict[str, float]:
        """What the target has counted so far. Raises BenchError."""
        try:
            return parse_counters((await self._http.get("/metrics")).text)
        except httpx.HTTPError as error:
            raise self._no_answer(error) from None

    async def gauge(self, name: str) -> float:
        """The present value of one of the target's gauges, named without prefix. Raises BenchError."""
        try:
            return parse_gauge((await self._http.get("/metrics")).text, name)
        except httpx.HTTPError as error:
            raise self._no_answer(error) from None

    def _no_answer(self, error: Exception) -> BenchError:
        return BenchError(self.problem() or f"{self.plan.name}: {error!r}; logs: {self._logs()}")

    def _logs(self) -> str:
        return " ".join(str(role.log) for role in self._roles)

    async def stop(self) -> None:
        await asyncio.gather(*(role.stop() for role in self._roles))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()


async def _chunks(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream. Raises ValueError with the server's own words when it refuses."""
    if response.status_code != httpx.codes.OK:
        raise ValueError(f"HTTP {response.status_code}: {(await response.aread()).decode(errors='replace')}")
    async for line in response.aiter_lines():
        data = line.removeprefix("data: ")
        if line and data != "[DONE]":
            yield json.loads(data)


def seed_of(prompt: Prompt) -> int:
    """The same for every system, another one for every prompt."""
    return sum(prompt.tokens) % 2**31


def _pinned(cores: Sequence[int] | None) -> str:
    return "" if cores is None else f"taskset -c {','.join(map(str, cores))} "


def _free_ports(count: int) -> list[int]:
    """Ports that the system picks: all held until the last is known, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
