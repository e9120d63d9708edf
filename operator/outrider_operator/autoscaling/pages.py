"""Gets pages of pods by their addresses. What a pod may send is bounded in time and size."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from types import TracebackType

import aiohttp

from outrider_operator.autoscaling import timing
from outrider_operator.autoscaling.pods import SeenPod

AT_ONCE = 128
# A target's /metrics has 40 kB.
LARGEST_BYTES = 4 * 2**20


class NoPage(Exception):
    """The pod did not answer as it should; the message says how, in a few words."""


class Pages:
    """GET over HTTP, or HTTPS where the pod speaks it: without asking whose certificate it is, for that names what
    clients know, and the pod is asked by its address. Nothing secret is sent.
    """

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> Pages:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timing.DEADLINE_S),
            # A connection a page: pods close those that rest for longer than this loop does.
            connector=aiohttp.TCPConnector(limit=0, ssl=False, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self._session.close()

    async def get(self, pod: SeenPod, path: str) -> str:
        """The page's text. Raises NoPage."""
        async with self._turns:
            try:
                async with self._session.get(url_of(pod, path), allow_redirects=False) as answer:
                    if answer.status != HTTPStatus.OK:
                        raise NoPage(f"status {answer.status}")
                    return (await _bounded(answer.content)).decode(errors="replace")
            except TimeoutError:
                raise NoPage(f"no answer within {timing.DEADLINE_S:.0f} s") from None
            except (aiohttp.ClientError, OSError) as error:
                raise NoPage(type(error).__name__) from None


def url_of(pod: SeenPod, path: str) -> str:
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    return f"{'https' if pod.https else 'http'}://{host}:{pod.port}{path}"


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    read = bytearray()
    async for chunk in content.iter_any():
        read += chunk
        if len(read) > LARGEST_BYTES:
            raise NoPage(f"more than {LARGEST_BYTES} bytes")
    return bytes(read)
