"""HTTPS at the endpoint: a certificate that is replaced is shown to whoever connects next."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from outrider_serving.server import Server
from outrider_serving.tls import BadCertificate, ServingCertificate
from support.certificates import authority, identity_files, mount
from unit.api.scripted import WAIT_S, face, tiny_tokenizer

NAME = "localhost"


@contextlib.asynccontextmanager
async def https(certificate: ServingCertificate) -> AsyncIterator[int]:
    """A real server with this certificate, and its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(face(tiny_tokenizer()).app, 1, certificate.context)
    tasks = [
        asyncio.create_task(server.serve(sockets=[listener])),
        asyncio.create_task(certificate.follow(look_every_s=0.01)),
    ]
    try:
        yield listener.getsockname()[1]
    finally:
        server.end()
        await tasks[0]
        tasks[1].cancel()


async def shown(port: int, trusted: Path) -> str | None:
    """The serial number of the certificate that a new connection is shown; None where it is not trusted."""
    context = ssl.create_default_context(cafile=trusted / "ca.crt")
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=NAME)
    except ssl.SSLCertVerificationError:
        return None
    serial = str(writer.get_extra_info("peercert")["serialNumber"])
    writer.close()
    return serial


async def until_another(before: str | None, port: int, trusted: Path) -> None:
    async with asyncio.timeout(WAIT_S):
        while await shown(port, trusted) == before:  # noqa: ASYNC110 nobody says when it is there
            await asyncio.sleep(0.01)


async def test_a_renewed_certificate_is_shown_to_who_connects_next_and_no_connection_ends(tmp_path: Path) -> None:
    signing = authority()
    folder = mount(tmp_path / "serving", identity_files(signing, name=NAME))
    trusting = ssl.create_default_context(cafile=folder / "ca.crt")
    async with https(ServingCertificate(folder)) as port:
        url = f"https://{NAME}:{port}"
        async with httpx.AsyncClient(base_url=url, verify=trusting, trust_env=False) as client:
            assert (await client.get("/ready")).json() == {"ready": True}
            before = await shown(port, folder)
            mount(folder, identity_files(signing, name=NAME))
            await until_another(before, port, folder)
            (connection,) = client._transport._pool.connections  # type: ignore[attr-defined]
            assert (await client.get("/ready")).status_code == 200
            assert client._transport._pool.connections == [connection]  # type: ignore[attr-defined]
    assert before is not None


async def test_half_of_a_new_pair_is_not_taken(tmp_path: Path) -> None:
    signing = authority()
    folder = mount(tmp_path / "serving", identity_files(signing, name=NAME))
    certificate = ServingCertificate(folder)
    async with https(certificate) as port:
        before = await shown(port, folder)
        broken = {**identity_files(signing, name=NAME), "tls.key": identity_files(signing)["tls.key"]}
        mount(folder, broken)
        async with asyncio.timeout(WAIT_S):
            while certificate._loaded != (broken["tls.crt"], broken["tls.key"]):  # noqa: ASYNC110 it has no event
                await asyncio.sleep(0.01)
        assert await shown(port, folder) == before is not None
        mount(folder, identity_files(signing, name=NAME))
        await until_another(before, port, folder)


async def test_plain_http_is_not_answered(tmp_path: Path) -> None:
    folder = mount(tmp_path / "serving", identity_files(authority(), name=NAME))
    async with https(ServingCertificate(folder)) as port, httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://127.0.0.1:{port}/ready")


@pytest.mark.parametrize("missing", ["tls.crt", "tls.key"])
def test_a_folder_without_a_pair_is_told_with_the_remedy(missing: str, tmp_path: Path) -> None:
    files = {name: value for name, value in identity_files(authority()).items() if name != missing}
    with pytest.raises(BadCertificate, match=r"holds no tls\.crt with its tls\.key; mount a Secret of type"):
        ServingCertificate(mount(tmp_path / "serving", files))
