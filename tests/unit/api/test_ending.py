"""How a server ends: it lingers, for those who have not heard of it, drains, and leaves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
from outrider_serving.server import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from unit.api.scripted import WAIT_S

FOR_EVER_S = 3600.0


@dataclass
class Running:
    """A server on a port of its own. `serving` is done when it has left; `go_on` lets its stream end."""

    server: Server
    port: int
    serving: asyncio.Task[None]
    go_on: asyncio.Event

    async def has_left(self) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.serving

    async def takes_nobody(self) -> None:
        """Waits until a new connection is refused."""
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionRefusedError):
                while True:
                    # One that is being made while the port closes is reset; the next is refused.
                    with contextlib.suppress(ConnectionResetError):
                        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                        writer.close()
                    await asyncio.sleep(0.01)


def greeting_app(go_on: asyncio.Event) -> Starlette:
    async def greet(_: Request) -> Response:
        return PlainTextResponse("hello")

    async def stream(_: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"first"
            await go_on.wait()
            yield b"last"

        return StreamingResponse(pieces())

    return Starlette(routes=[Route("/", greet), Route("/stream", stream)])


@contextlib.asynccontextmanager
async def running(linger_s: float) -> AsyncIterator[Running]:
    listener = socket.create_server(("127.0.0.1", 0))
    go_on = asyncio.Event()
    server = Server(greeting_app(go_on), drain_s=WAIT_S, linger_s=linger_s)
    port = listener.getsockname()[1]
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield Running(server, port, serving, go_on)
    finally:
        go_on.set()
        server.should_exit = server.force_exit = True
        await serving


def client_of(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=WAIT_S)


async def test_what_comes_while_it_lingers_is_served_and_told_to_go_elsewhere_next_time() -> None:
    async with running(FOR_EVER_S) as one, client_of(one.port) as known:
        before = await known.get("/")
        assert "connection" not in before.headers
        one.server.end()
        assert one.server.ending
        over_the_old_connection = await known.get("/")
        async with client_of(one.port) as late:
            over_a_new_one = await late.get("/")
    for answer in (over_the_old_connection, over_a_new_one):
        assert (answer.text, answer.headers["connection"]) == ("hello", "close")


async def test_told_again_it_takes_nobody_and_lets_what_runs_finish() -> None:
    async with running(FOR_EVER_S) as one, client_of(one.port) as client, client.stream("GET", "/stream") as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"first"
        one.server.end()
        one.server.end()
        await one.takes_nobody()
        one.go_on.set()
        assert b"".join([piece async for piece in pieces]) == b"last"
        await one.has_left()


async def test_left_alone_it_leaves_once_it_has_lingered() -> None:
    async with running(0.01) as one, client_of(one.port) as client:
        await client.get("/")
        one.server.end()
        await one.takes_nobody()
        await one.has_left()


async def test_without_a_time_to_linger_it_drains_at_once() -> None:
    async with running(0) as one:
        one.server.end()
        assert one.server.should_exit
        await one.has_left()


async def test_what_has_failed_does_not_linger() -> None:
    failed = asyncio.Event()
    async with running(FOR_EVER_S) as one:
        watching = asyncio.create_task(one.server.end_on(failed))
        failed.set()
        await one.has_left()
        assert one.server.ending
        await watching
