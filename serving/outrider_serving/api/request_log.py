"""Every HTTP request gets an id, one line in the log, and an answer even when the server fails.

A line says who waited for what and how long; it never holds a prompt, a text, a key or what an
exception says.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import cast

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outrider_serving.api.errors import ApiError, as_api_error
from outrider_serving.engine.request import EngineStopped, QueueFull
from outrider_serving.logs import failure

REQUEST_ID_HEADER = "x-request-id"
VALID_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
STATUS_CLIENT_GONE = 499  # nginx's, for the log only: nobody is there to read it
QUIET_PATHS = frozenset({"/health", "/ready", "/metrics"})  # polled every few seconds
PATH_CHARACTERS = 200  # a route takes any path as a model's name
SCOPE_KEY = "outrider.record"

_log = structlog.get_logger("outrider.http")


class RequestRecord:
    """What the log will say of one request.

    `unique` is the server's own id of it, `request_id` may be the client's.
    """

    def __init__(self, headers: Headers) -> None:
        self.unique = uuid.uuid4().hex
        sent = headers.get(REQUEST_ID_HEADER, "")
        self.request_id = sent if VALID_REQUEST_ID.fullmatch(sent) else self.unique
        self.status: int | None = None
        self._started_s = time.perf_counter()
        self._notes: dict[str, object] = {}
        self._failed = False

    def note(self, **fields: object) -> None:
        self._notes |= fields

    def failed(self, error: Exception) -> None:
        """Notes the kind and the place of a failure; of a refusal only its code. Why the engine stopped it has said."""
        if isinstance(error, ApiError | QueueFull | EngineStopped):
            self.note(refused=error.code or "invalid")
            return
        self._failed = True
        self.note(**failure(error))

    def write(self, scope: Scope) -> None:
        path = scope["path"]
        level = "error" if self._failed else "debug" if path in QUIET_PATHS else "info"
        getattr(_log, level)(
            "http_request",
            request_id=self.request_id,
            method=scope["method"][:16],
            path=path[:PATH_CHARACTERS] if "endpoint" in scope else "(unknown)",
            status=self.status,
            duration_ms=round((time.perf_counter() - self._started_s) * 1000, 1),
            **self._notes,
        )


def record_of(scope: Scope) -> RequestRecord:
    return cast(RequestRecord, scope[SCOPE_KEY])


class RequestLog:
    """ASGI middleware around everything: opens a record, names it in the answer's header, writes it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(Headers(scope=scope))
        scope[SCOPE_KEY] = record

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = record.request_id
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except ClientDisconnect:
            record.status = STATUS_CLIENT_GONE
        except Exception as error:
            record.failed(error)
            if record.status is None:
                await as_api_error(error, record.request_id).response()(scope, receive, send_named)
        finally:
            record.write(scope)
