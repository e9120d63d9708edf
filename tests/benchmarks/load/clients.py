"""Clients of the OpenAI API: so many at once, each sending its next request when its last one was answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.errors import BenchError
from benchmarks.load.latencies import Stream
from benchmarks.load.workload import Request

ANSWER_S = 1800.0
END = b"[DONE]"


class Refused(Exception):
    """The server did not answer a request to its end; the text says how."""


@dataclass
class Received:
    """One answer while it arrives: bytes, and when they came. Parsed afterwards, for that takes time."""

    sent_s: float
    reads: list[tuple[float, bytes]] = field(default_factory=list)

    def events(self) -> Iterator[tuple[float, dict[str, Any]]]:
        """Every event of the stream with the second at which its last byte was there. Raises Refused at an error."""
        left = b""
        for at_s, read in self.reads:
            *lines, left = (left + read).split(b"\n")
            for line in lines:
                data = line.strip().removeprefix(b"data: ")
                if data and data != END:
                    event = json.loads(data)
                    if "error" in event:
                        raise Refused(event["error"]["message"])
                    yield at_s, event

    def pieces_s(self) -> list[float]:
        """When a piece of text came."""
        return [at_s for at_s, event in self.events() if event["choices"] and event["choices"][0]["text"]]

    def stream(self) -> Stream:
        """Raises Refused when the stream broke off, or nothing was in it."""
        usage = [event["usage"] for _, event in self.events() if event.get("usage")]
        pieces_s = self.pieces_s()
        if not usage or not pieces_s:
            raise Refused("the stream ended before its end, or held no text")
        return Stream(self.sent_s, tuple(pieces_s), usage[-1]["completion_tokens"])


class Clients:
    """Of one server. Seconds are counted from `start_s`, a reading of time.perf_counter()."""

    def __init__(self, url: str, model: str, most: int) -> None:
        limits = httpx.Limits(max_connections=most + 1, max_keepalive_connections=most + 1)
        self._http = httpx.AsyncClient(base_url=url, timeout=ANSWER_S, trust_env=False, limits=limits)
        self._model = model

    async def answer(self, body: dict[str, Any], into: Received, start_s: float) -> None:
        """Until the answer's end; `into` has what came also when this is cancelled. Raises Refused."""
        try:
            async with self._http.stream("POST", "/v1/completions", json={"model": self._model, **body}) as response:
                if response.status_code != httpx.codes.OK:
                    raise Refused(f"HTTP {response.status_code}: {(await response.aread()).decode(errors='replace')}")
                async for read in response.aiter_raw():
                    into.reads.append((time.perf_counter() - start_s, read))
        except httpx.HTTPError as error:
            raise Refused(repr(error)) from None

    async def batch(self, requests: Sequence[Request], streams: int, temperature: float) -> tuple[list[Stream], float]:
        """All requests, `streams` at a time, and the seconds until the last one's end. Raises BenchError."""
        waiting = iter(requests)
        received: list[Received] = []
        start_s = time.perf_counter()

        async def client() -> None:
            for request in waiting:
                into = Received(time.perf_counter() - start_s)
                received.append(into)
                await self.answer(fixed_length(request, temperature), into, start_s)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(streams):
                    group.create_task(client())
            wall_s = time.perf_counter() - start_s
            return [each.stream() for each in received], wall_s
        except* Refused as problems:
            raise BenchError(f"{self._model}: {problems.exceptions[0]}") from None

    async def close(self) -> None:
        await self._http.aclose()


def fixed_length(request: Request, temperature: float) -> dict[str, Any]:
    """The body of a request whose answer has exactly the tokens asked for."""
    return {
        "prompt": request.prompt,
        "max_tokens": request.tokens,
        "temperature": temperature,
        "seed": request.seed,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
