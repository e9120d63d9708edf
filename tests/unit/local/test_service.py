"""Connections through the Service of a run, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from outrider_operator.local.service import Service
from support.ports import free_port

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

PATIENCE_S = 20.0
HOST = "127.0.0.1"


class Target:
    """A server on a port of its own. What it does with a connection is given; else it says its name and echoes."""

    def __init__(self, name: bytes, serve: Serve | None = None) -> None:
        self.name = name
        self.port = 0
        self.closed = 0
        self._serve = serve or self._echo
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> Target:
        self._server = await asyncio.start_server(self._taken, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(OSError):
            await self._serve(reader, writer)
        self.closed += 1
        writer.close()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.name)
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

    def die(self) -> None:
        """As a process that is killed: it listens no more, and its connections end."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def service(*ready: Target) -> AsyncIterator[tuple[Service, int]]:
    port = free_port()
    made = Service(port)
    running = asyncio.create_task(made.run())
    made.lead_to([target.port for target in ready])
    if ready:
        await until_listening(made)
    try:
        yield made, port
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for target in ready:
            target.die()


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not look():  # noqa: ASYNC110 what is awaited has no event
            await asyncio.sleep(0.01)


async def until_closed(targets: Sequence[Target], connections: int) -> None:
    await until(lambda: sum(target.closed for target in targets) == connections)


async def until_listening(made: Service) -> None:
    """Soon after it has heard of its first target. A connection to find out by would count as one."""
    await until(lambda: made._listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1)


async def until_counted_down(made: Service, *targets: Target) -> None:
    """The Service takes a connection that ended out of its count a little later than the target sees the end."""
    await until(lambda: not any(made._connections[target.port] for target in targets))


async def connect(port: int) -> tuple[bytes, Connection]:
    """A connection, and the name of the target that it led to."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(HOST, port)
        return await reader.read(1), (reader, writer)


async def three() -> list[Target]:
    return [await Target(name).start() for name in (b"a", b"b", b"c")]


async def test_connections_are_spread_and_then_go_where_there_are_fewest() -> None:
    targets = await three()
    async with service(*targets) as (made, port):
        opened = [await connect(port) for _ in range(6)]
        assert Counter(name for name, _ in opened) == {b"a": 2, b"b": 2, b"c": 2}
        for name, (_, writer) in opened:
            if name == b"b":
                writer.close()
        await until_closed(targets[1:2], 2)
        await until_counted_down(made, targets[1])
        assert {(await connect(port))[0] for _ in range(2)} == {b"b"}


async def test_one_connection_after_another_goes_around() -> None:
    targets = await three()
    async with service(*targets) as (made, port):
        names = []
        for ended in range(1, 7):
            name, (_, writer) = await connect(port)
            writer.close()
            await until_closed(targets, ended)
            await until_counted_down(made, *targets)
            names.append(name)
        assert sorted(names[:3]) == sorted(names[3:]) == [b"a", b"b", b"c"]


async def test_before_any_target_is_ready_connections_are_refused() -> None:
    async with service() as (made, port):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)
        target = await Target(b"a").start()
        made.lead_to([target.port])
        await until_listening(made)
        assert (await connect(port))[0] == b"a"
        target.die()


async def test_while_there_is_no_target_any_more_connections_are_reset() -> None:
    target = await Target(b"a").start()
    async with service(target) as (made, port):
        made.lead_to([])
        with pytest.raises(ConnectionError):
            await connect(port)
        made.lead_to([target.port])
        assert (await connect(port))[0] == b"a"


async def test_the_port_of_another_is_not_taken() -> None:
    other = await Target(b"a").start()
    with pytest.raises(OSError, match="in use"):
        Service(other.port)
    other.die()


async def test_bytes_are_passed_as_they_come_not_when_there_are_many() -> None:
    heard = asyncio.Event()

    async def token_by_token(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for token in (b"1", b"2", b"3"):
            writer.write(token)
            await heard.wait()
            heard.clear()

    target = await Target(b"", token_by_token).start()
    async with service(target) as (_, port):
        first, (reader, _writer) = await connect(port)
        tokens = [first]
        for _ in range(2):
            heard.set()
            tokens.append(await asyncio.wait_for(reader.read(1), PATIENCE_S))
        heard.set()
        assert tokens == [b"1", b"2", b"3"]
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""


async def test_who_has_said_all_still_hears_the_answer() -> None:
    async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{len(await reader.read())} bytes".encode())

    target = await Target(b"", counts).start()
    async with service(target) as (_, port):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"x" * 3_000_000)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b"3000000 bytes"


async def test_much_at_once_comes_whole_to_one_who_reads_slowly() -> None:
    sent = bytes(range(256)) * 20_000

    async def says_much(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()

    target = await Target(b"", says_much).start()
    async with service(target) as (_, port):
        reader, _writer = await asyncio.open_connection(HOST, port, limit=1024)
        await asyncio.sleep(0.2)
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == sent


async def test_a_target_that_is_not_ready_any_more_keeps_its_connections_and_gets_no_new_ones() -> None:
    leaving, staying = await Target(b"a").start(), await Target(b"b").start()
    async with service(leaving, staying) as (made, port):
        names = dict([await connect(port), await connect(port)])
        made.lead_to([staying.port])
        assert {(await connect(port))[0] for _ in range(3)} == {b"b"}
        reader, writer = names[b"a"]
        writer.write(b"still there?")
        assert await asyncio.wait_for(reader.readexactly(12), PATIENCE_S) == b"still there?"


async def test_a_target_that_dies_breaks_its_connections_and_new_ones_go_elsewhere_before_it_is_known() -> None:
    doomed, other = await Target(b"a").start(), await Target(b"b").start()
    async with service(doomed, other) as (_, port):
        names = dict([await connect(port), await connect(port)])
        doomed.die()
        reader, _ = names[b"a"]
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        assert {(await connect(port))[0] for _ in range(4)} == {b"b"}
        reader, writer = names[b"b"]
        writer.write(b"!")
        assert await asyncio.wait_for(reader.read(1), PATIENCE_S) == b"!"


async def test_a_client_that_goes_away_is_gone_for_its_target() -> None:
    target = await Target(b"a").start()
    async with service(target) as (_, port):
        _, (_, writer) = await connect(port)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await until_closed([target], 1)


async def test_the_end_of_the_run_ends_what_is_open() -> None:
    target = await Target(b"a").start()
    async with service(target) as (_, port):
        _, (reader, _writer) = await connect(port)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
