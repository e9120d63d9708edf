"""What the log has of a request. A server writes its line when the answer has gone already."""

from __future__ import annotations

import httpx
from structlog.typing import EventDict
from support.waiting import eventually
from unit.api.scripted import WAIT_S


def line_of(lines: list[EventDict], answer: httpx.Response) -> EventDict:
    """The one line of a request that was answered so, once it is there; what names no request counts as its own. The
    line of another test's server, which may come at any time, is passed over.
    """
    request_id = answer.headers["x-request-id"]

    def found() -> list[EventDict]:
        return [line for line in lines if line.get("request_id", request_id) == request_id]

    (line,) = eventually(f"the line of {request_id}", found, WAIT_S)
    return line
