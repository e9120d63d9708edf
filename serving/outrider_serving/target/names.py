"""From a name to the drafts behind it: a headless Service has an address for each of its pods, a file lists them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

Resolver = Callable[[str], Awaitable[tuple[str, ...]]]

DNS_SCHEME = "dns:///"
FILE_SCHEME = "file://"


def check_name(name: str) -> None:
    """Raises ValueError for what leads to no draft, whatever is there."""
    if name.startswith(FILE_SCHEME):
        if not name.startswith(f"{FILE_SCHEME}/"):
            raise ValueError(f"{name!r} is no path from the root; give file:///PATH")
    else:
        host_and_port(name)


def host_and_port(name: str) -> tuple[str, int]:
    """Of HOST:PORT, [IPv6]:PORT or either after dns:///. Raises ValueError."""
    host, _, port = name.removeprefix(DNS_SCHEME).rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"{name!r} has no port; give HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def certified_host(name: str, address: str) -> str:
    """For whom the draft at an address shows a certificate: the name that led there, of a file what it lists."""
    host, _ = host_and_port(address if name.startswith(FILE_SCHEME) else name)
    return host


async def resolve(name: str) -> tuple[str, ...]:
    """The addresses (IP:PORT) behind a name, in order; of file:///PATH those that it lists, which may be none.

    Of one family, IPv4 if there is any: a pod of a dual-stack cluster has an address in each and is one draft.
    Raises OSError where a name leads nowhere, a file is not there or lists what is no address.
    """
    if name.startswith(FILE_SCHEME):
        return await asyncio.to_thread(_listed, Path(name.removeprefix(FILE_SCHEME)))
    host, port = host_and_port(name)
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family = min((info[0] for info in found), key=lambda family: family is not socket.AF_INET)
    hosts = sorted({str(info[4][0]) for info in found if info[0] is family})
    return tuple(f"[{one}]:{port}" if family is socket.AF_INET6 else f"{one}:{port}" for one in hosts)


def _listed(file: Path) -> tuple[str, ...]:
    addresses = sorted(set(file.read_text(errors="replace").split()))
    for address in addresses:
        try:
            host_and_port(address)
        except ValueError as problem:
            raise OSError(str(problem)) from None
    return tuple(addresses)
