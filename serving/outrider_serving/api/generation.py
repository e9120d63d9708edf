"""Runs the engine for one HTTP request, and stops it the moment nobody waits for the answer any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from outrider_serving.engine.request import Delta, Generator, Request

Result = TypeVar("Result")
Put = Callable[[int, Delta], Awaitable[None]]


class EngineStoppedError(RuntimeError):
    """The engine's deltas ended without a finish_reason."""


async def generate(generator: Generator, requests: Sequence[Request], put: Put) -> None:
    """Hands every delta of every request to `put`, with the request's index.

    The first request to fail cancels the others, and its error is raised.
    """
    if len(requests) == 1:
        await _generate_one(generator, 0, requests[0], put)
        return
    try:
        async with asyncio.TaskGroup() as group:
            for index, request in enumerate(requests):
                group.create_task(_generate_one(generator, index, request, put))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _generate_one(generator: Generator, index: int, request: Request, put: Put) -> None:
    async with _closing(generator.generate(request)) as deltas:
        async for delta in deltas:
            await put(index, delta)
            if delta.finish_reason:
                return
    raise EngineStoppedError


@asynccontextmanager
async def _closing(deltas: AsyncIterator[Delta]) -> AsyncIterator[AsyncIterator[Delta]]:
    """Closes the iterator on every way out: that is what frees the request's KV, and waiting for the garbage
    collector would keep it for a while."""
    try:
        yield deltas
    finally:
        close = getattr(deltas, "aclose", None)
        if close is not None:
            await close()


async def while_connected(receive: Receive, work: Coroutine[object, object, Result]) -> Result:
    """Runs `work` to its end, or cancels it when the client goes away.

    The request's body must have been read, and `work` must not complete the response: the server reports that
    as a disconnect too. Raises ClientDisconnect, and whatever `work` raises.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
