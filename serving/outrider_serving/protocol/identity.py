"""Mutual TLS between target and draft: each shows a certificate of one authority, and asks for one.

The files are those of a Kubernetes Secret, which are replaced while a pod runs. A draft looks at them at every
handshake, a target whenever it connects: a certificate is renewed without a stream ending.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import grpc

from outrider_serving.mounted import snapshot, why

CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"
REMEDY = "mount the Secret that holds it"

# What gRPC says of a connection that has not come about, and what it comes to for a person; the first that is in it.
_MEANINGS = {
    "certificate has expired": "its certificate has expired",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not of an authority in ca.crt",
    "not in peer certificate": "its certificate is for another name than that of --draft",
    "Hostname Verification Check failed": "its certificate is for another name than that of --draft",
    "WRONG_VERSION_NUMBER": "it speaks no TLS; give it --identity",
    "create security handshaker": "tls.crt, tls.key and ca.crt of --identity do not belong together",
    # In TLS 1.3 a client has connected before the server looks at its certificate, and is told nothing.
    "Socket closed": "it hung up: it may not know the authority of this target's certificate, or that has expired",
}


class BadIdentity(ValueError):
    """The folder is not as it should be; the message says what is missing. It never holds what is in a file."""


class _Files(NamedTuple):
    authority: bytes
    key: bytes
    certificate: bytes


@dataclass(frozen=True)
class Identity:
    """A folder with tls.crt, tls.key and ca.crt."""

    folder: Path

    def check(self) -> None:
        """Raises BadIdentity where the folder will not do."""
        self._read()
        try:
            now = snapshot(self.folder)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            # A key with a password would be asked for on a terminal that is not there.
            context.load_cert_chain(now / CERTIFICATE, now / KEY, password="")
            context.load_verify_locations(now / AUTHORITY)
        except (OSError, ValueError):  # an SSLError is an OSError
            raise BadIdentity(
                f"{self.folder}: {CERTIFICATE} and {KEY} are no pair, or {AUTHORITY} holds no certificate; {REMEDY}"
            ) from None

    def of_client(self) -> grpc.ChannelCredentials:
        """For one connection, from the files as they are now. Raises BadIdentity."""
        files = self._read()
        return grpc.ssl_channel_credentials(files.authority, files.key, files.certificate)

    def of_server(self) -> grpc.ServerCredentials:
        """For a server's life: who has no certificate of the authority is turned away. Raises BadIdentity."""
        self.check()
        last = self._read()

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal last
            try:
                now = self._read()
            except BadIdentity:
                return None  # in the middle of being replaced: the next handshake looks again
            if now == last:
                return None
            last = now
            return _configuration(now)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(last),
            renewed,  # type: ignore[arg-type] # None, for no change, is part of its contract
            require_client_authentication=True,
        )

    def _read(self) -> _Files:
        folder = snapshot(self.folder)
        found = []
        for name in (AUTHORITY, KEY, CERTIFICATE):
            try:
                content = (folder / name).read_bytes()
            except OSError as error:
                raise BadIdentity(f"{self.folder / name}: {why(error)}; {REMEDY}") from None
            if b"-----BEGIN" not in content:
                raise BadIdentity(f"{self.folder / name}: not PEM; {REMEDY}")
            found.append(content)
        return _Files(*found)


def _configuration(files: _Files) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(files.key, files.certificate)], files.authority)


def handshake_problem(details: str) -> str:
    """What is wrong in one line, where gRPC's words are of who is who; else empty."""
    return next((meaning for sign, meaning in _MEANINGS.items() if sign in details), "")
