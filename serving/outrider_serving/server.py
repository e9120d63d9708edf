"""The HTTP server of both roles: uvicorn, ended by us."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers, which raise the signal again after the drain: a drained exit is
    a clean one.

    Told to end, it goes in three steps. It lingers: whatever comes is served still, since those who send requests
    here have to hear first that they should not. It drains: nothing new comes in, and what runs may finish. It leaves.
    """

    def __init__(self, app: Starlette, drain_s: int, tls: ssl.SSLContext | None = None, linger_s: float = 0.0) -> None:
        """With `tls` it speaks HTTPS alone."""
        super().__init__(
            uvicorn.Config(
                self._telling_its_end(app),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=drain_s,
                ssl_context_factory=None if tls is None else lambda _, __: tls,
            )
        )
        self.ending = False
        self._linger_s = linger_s

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def end(self) -> None:
        """Begins the first step; told again, the second one begins at once."""
        if self._linger_s > 0 and not self.ending:
            self.ending = True
            asyncio.get_running_loop().call_later(self._linger_s, self._drain)
        else:
            self._drain()

    async def end_on(self, failed: asyncio.Event) -> None:
        """What has failed serves nothing that comes: it does not linger."""
        await failed.wait()
        self._drain()

    def _drain(self) -> None:
        self.ending = self.should_exit = True

    def _telling_its_end(self, app: Starlette) -> ASGIApp:
        """Once it is to end, each answer closes its connection: the client makes the next one to another server, and
        none is left to be cut with a request on its way.
        """

        async def served(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_closing(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message)["connection"] = "close"
                await send(message)

            await app(scope, receive, send_closing if self.ending else send)

        return served
