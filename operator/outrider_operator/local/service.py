"""What a Service is in a cluster: one port in front of every target that is ready.

It passes connections on and knows nothing of HTTP: a client that keeps its connection stays with its target, as behind
kube-proxy. asyncio sets TCP_NODELAY on both sides, so that a token is not held back for the next one.
"""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Collection

from outrider_operator.local.ports import LOOPBACK

CHUNK_BYTES = 64 * 1024
BACKLOG = 1024
# SO_LINGER of 0 s: what is not sent yet is dropped, and the peer is told of a reset.
RESET = struct.pack("ii", 1, 0)


class Service:
    """Passes each connection to the ready target that has the fewest.

    Before the first is ready connections are refused. Later, while there is none, they are reset: the port stays
    taken, and whoever comes is told at once. A target that ends keeps the connections that it has.
    """

    def __init__(self, port: int) -> None:
        """Raises OSError when the port cannot be had."""
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind((LOOPBACK, port))
        except OSError:
            self._listener.close()
            raise
        self._ready: list[int] = []  # the one that was chosen longest ago first
        self._first_ready = asyncio.Event()
        self._connections: Counter[int] = Counter()
        self._passing: set[asyncio.Task[None]] = set()

    def lead_to(self, ports: Collection[int]) -> None:
        """From now on connections go to the targets at these ports alone."""
        self._ready = [port for port in self._ready if port in ports]
        self._ready += [port for port in ports if port not in self._ready]
        if self._ready:
            self._first_ready.set()

    async def run(self) -> None:
        """Takes connections until it is cancelled; those that are open then are reset."""
        server = None
        try:
            await self._first_ready.wait()
            server = await asyncio.start_server(self._take, sock=self._listener, limit=CHUNK_BYTES, backlog=BACKLOG)
            await asyncio.get_running_loop().create_future()
        finally:
            if server is not None:
                server.close()
            self._listener.close()
            for task in self._passing:
                task.cancel()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        try:
            await self._pass_on(reader, writer)
        except asyncio.CancelledError:
            pass  # the run ends; asyncio would log a task of a server that is cancelled as a fault
        finally:
            _reset(writer)
            self._passing.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the connection has ended. A target that has just died refuses it: then it goes to another."""
        tried: set[int] = set()
        while (port := self._choose(tried)) is not None:
            tried.add(port)
            self._connections[port] += 1
            try:
                there = await asyncio.open_connection(LOOPBACK, port, limit=CHUNK_BYTES)
                await _join((reader, writer), there)
                return
            except OSError:
                continue
            finally:
                self._connections[port] -= 1

    def _choose(self, tried: Collection[int]) -> int | None:
        """The target with the fewest connections; of several the one that was chosen longest ago."""
        port = min((each for each in self._ready if each not in tried), key=self._connections.__getitem__, default=None)
        if port is not None:
            self._ready.remove(port)
            self._ready.append(port)
        return port


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(one: Ends, other: Ends) -> None:
    """Passes bytes both ways until both have ended. Where one side breaks, so does the other."""
    ways = [asyncio.create_task(_copy(source, sink)) for source, sink in ((one[0], other[1]), (other[0], one[1]))]
    try:
        await asyncio.gather(*ways)
        one[1].close()
        other[1].close()
    except OSError:
        pass  # one side is gone, and the other is told so by the reset
    finally:
        for way in ways:
            way.cancel()
        _reset(one[1])
        _reset(other[1])


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Until the source says that no more comes, which is said to the sink."""
    while data := await source.read(CHUNK_BYTES):
        sink.write(data)
        await sink.drain()
    sink.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection at once, unless it is closed or closing already."""
    if not writer.is_closing():
        with contextlib.suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
