"""Stands between the operator and the API server, and lets go wrong on demand what a good server does not."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# The server's; those of one connection are not the other's.
HOP_BY_HOP = frozenset({"host", "connection", "transfer-encoding", "content-length", "content-encoding"})


@dataclass(frozen=True)
class Request:
    """A call as it came. A watch is a GET that does not end."""

    method: str
    path: str
    watch: bool

    @property
    def writes(self) -> bool:
        """Leader election's renewals are not counted among them: they come by time."""
        return self.method in WRITES and "/leases" not in self.path


@dataclass(frozen=True)
class Answer:
    """What the caller gets in place of the server's answer. status 0: the connection is cut."""

    status: int
    retry_after_s: int | None = None
    after_the_call: bool = False  # the server has done it, and only the answer is lost
    hangs_s: float = 0.0


class FaultyProxy:
    """Forwards to `server` whatever `judge` gives no answer for. `url` is where the operator finds it."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._watches: set[asyncio.Task[object]] = set()
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.judge: Callable[[Request], Answer | None] = lambda _: None
        self.seen: list[Request] = []
        self.url = ""

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut_watches(self) -> None:
        """Every watch ends in the middle, as when a load balancer between has been replaced."""
        for task in list(self._watches):
            self._loop.call_soon_threadsafe(task.cancel)

    @property
    def writes(self) -> list[Request]:
        return [request for request in self.seen if request.writes]

    async def _start(self) -> None:
        trusting = ssl._create_unverified_context()  # the server of a test, on this machine
        connector = aiohttp.TCPConnector(ssl=trusting, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def _stop(self) -> None:
        assert self._runner is not None
        assert self._session is not None
        for task in self._watches:
            task.cancel()
        await self._session.close()
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        asked = Request(request.method, request.path, request.query.get("watch") in ("true", "1"))
        self.seen.append(asked)
        answer = self.judge(asked)
        if answer is not None:
            if answer.after_the_call:
                async with self._forwarded(request, await request.read()) as done:
                    await done.read()
            await asyncio.sleep(answer.hangs_s)
            return self._instead(request, answer)
        task = asyncio.current_task()
        assert task is not None
        if asked.watch:
            self._watches.add(task)
        try:
            return await self._forward(request)
        finally:
            self._watches.discard(task)

    @staticmethod
    def _instead(request: web.Request, answer: Answer) -> web.StreamResponse:
        if answer.status == 0:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        wait = {} if answer.retry_after_s is None else {"Retry-After": str(answer.retry_after_s)}
        content = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": answer.status,
            "message": "injected",
        }
        return web.Response(
            status=answer.status, headers=wait, text=json.dumps(content), content_type="application/json"
        )

    def _forwarded(self, request: web.Request, body: bytes) -> aiohttp.client._RequestContextManager:
        assert self._session is not None
        return self._session.request(
            request.method,
            f"{self._server}{request.path_qs}",
            headers=_passed_on(request.headers),
            data=body or None,
            skip_auto_headers=("Content-Type",),
        )

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        async with self._forwarded(request, await request.read()) as answer:
            response = web.StreamResponse(status=answer.status, headers=_passed_on(answer.headers))
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response


def _passed_on(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """One name may come several times, as kopf's Accept does."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP)
