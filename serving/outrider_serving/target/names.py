"""From a name to the drafts behind it: a headless Service has an address for each of its pods."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

Resolver = Callable[[str], Awaitable[tuple[str, ...]]]

DNS_SCHEME = "dns:///"


def host_and_port(name: str) -> tuple[str, int]:
    """Of HOST:PORT, [IPv6]:PORT or either after dns:///. Raises ValueError."""
    host, _, port = name.removeprefix(DNS_SCHEME).rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"{name!r} has no port; give HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def resolve(name: str) -> tuple[str, ...]:
    """The addresses (IP:PORT) behind a name, in order. Raises OSError when there is none.

    Of one family, IPv4 if there is any: a pod of a dual-stack cluster has an address in each and is one draft.
    """
    host, port = host_and_port(name)
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family = min((info[0] for info in found), key=lambda family: family is not socket.AF_INET)
    hosts = sorted({str(info[4][0]) for info in found if info[0] is family})
    return tuple(f"[{one}]:{port}" if family is socket.AF_INET6 else f"{one}:{port}" for one in hosts)
