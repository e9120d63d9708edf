"""The HTTP server of both roles: uvicorn, ended by us."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers, which raise the signal again after the drain: a drained exit is
    a clean one.
    """

    def __init__(self, app: Starlette, drain_s: int, tls: ssl.SSLContext | None = None) -> None:
        """With `tls` it speaks HTTPS alone."""
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=drain_s,
                ssl_context_factory=None if tls is None else lambda _, __: tls,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def end(self) -> None:
        """Takes no new connection, lets running requests finish for the drain time, then leaves."""
        self.should_exit = True

    async def end_on(self, failed: asyncio.Event) -> None:
        await failed.wait()
        self.end()
