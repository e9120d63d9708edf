"""How much of a body is read: the whole of one that is somewhat too large, not the whole of an endless one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from outrider_serving.api.body import DISCARD_FACTOR, read_body
from outrider_serving.api.errors import ApiError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message

HEADERS = Headers({"content-type": "application/json; charset=utf-8"})
LIMIT_BYTES = 10


class Sender:
    """Sends `chunks` of LIMIT_BYTES; `then` after them."""

    def __init__(self, chunks: int, then: Message | None = None) -> None:
        self.sent = 0
        self._chunks = chunks
        self._then = then

    async def receive(self) -> Message:
        if self.sent == self._chunks:
            assert self._then is not None, "read past the end of the body"
            return self._then
        self.sent += 1
        more = self.sent < self._chunks or self._then is not None
        return {"type": "http.request", "body": b"x" * LIMIT_BYTES, "more_body": more}


async def refusal_of(read: Callable[[], Awaitable[bytes]]) -> ApiError:
    with pytest.raises(ApiError) as refusal:
        await read()
    return refusal.value


async def test_a_body_at_the_limit_is_read() -> None:
    assert await read_body(HEADERS, Sender(1).receive, LIMIT_BYTES) == b"x" * LIMIT_BYTES


async def test_a_body_over_the_limit_is_read_to_its_end_before_the_refusal() -> None:
    sender = Sender(DISCARD_FACTOR)

    refusal = await refusal_of(lambda: read_body(HEADERS, sender.receive, LIMIT_BYTES))

    assert (refusal.status, sender.sent) == (413, DISCARD_FACTOR)


async def test_an_endless_body_is_not_read_for_ever() -> None:
    sender = Sender(1000)

    refusal = await refusal_of(lambda: read_body(HEADERS, sender.receive, LIMIT_BYTES))

    assert (refusal.status, sender.sent) == (413, DISCARD_FACTOR + 1)


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_gone() -> None:
    with pytest.raises(ClientDisconnect):
        await read_body(HEADERS, Sender(1, {"type": "http.disconnect"}).receive, 5 * LIMIT_BYTES)
