"""Mutual TLS between target and draft: each shows a certificate of one authority, and asks for one.

The files are those of a Kubernetes Secret of type tls, which are replaced while a pod runs. A draft looks at them at
every handshake, a target whenever it connects: a certificate is renewed without a stream ending.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"


class BadIdentity(ValueError):
    """The folder is not as it should be; the message says what is missing. It never holds what is in a file."""


@dataclass(frozen=True)
class Identity:
    """A folder with tls.crt, tls.key and ca.crt."""

    folder: Path

    def _read(self) -> tuple[bytes, bytes, bytes]:
        """Authority, key and certificate. Raises BadIdentity."""
        found = []
        for name in (AUTHORITY, KEY, CERTIFICATE):
            try:
                content = (self.folder / name).read_bytes()
            except OSError as error:
                raise BadIdentity(f"{self.folder / name}: {error.strerror}; mount the Secret that holds it") from None
            if b"-----BEGIN" not in content:
                raise BadIdentity(f"{self.folder / name}: not PEM; mount the Secret that holds it")
            found.append(content)
        authority, key, certificate = found
        return authority, key, certificate

    def check(self) -> None:
        """Raises BadIdentity where the folder will not do."""
        self._read()

    def of_client(self) -> grpc.ChannelCredentials:
        """For one connection, from the files as they are now. Raises BadIdentity."""
        authority, key, certificate = self._read()
        return grpc.ssl_channel_credentials(authority, key, certificate)

    def of_server(self) -> grpc.ServerCredentials:
        """For a server's life: who has no certificate of the authority is turned away. Raises BadIdentity."""
        last = self._read()

        def configuration(files: tuple[bytes, bytes, bytes]) -> grpc.ServerCertificateConfiguration:
            authority, key, certificate = files
            return grpc.ssl_server_certificate_configuration([(key, certificate)], authority)

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal last
            try:
                now = self._read()
            except BadIdentity:
                return None  # in the middle of being replaced: the next handshake looks again
            if now == last:
                return None
            last = now
            return configuration(now)

        return grpc.dynamic_ssl_server_credentials(configuration(last), renewed, require_client_authentication=True)
