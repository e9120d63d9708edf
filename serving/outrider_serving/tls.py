"""The certificate of an HTTPS endpoint: of a folder with tls.crt and tls.key that is replaced while the server runs."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import structlog

from outrider_serving.mounted import snapshot

log = structlog.get_logger()

CERTIFICATE, KEY = "tls.crt", "tls.key"
# A certificate is renewed days before its end, and Kubernetes itself takes a minute to bring it here.
LOOK_EVERY_S = 10.0


class BadCertificate(ValueError):
    """The folder holds no certificate with its key. The message never holds what is in a file."""


class ServingCertificate:
    """`context` is for a server's life: what `follow` loads, new connections see."""

    def __init__(self, folder: Path) -> None:
        """Raises BadCertificate."""
        self._folder = folder
        self._loaded = self._content()
        self.context = self._new_context()

    async def follow(self, look_every_s: float = LOOK_EVERY_S) -> None:
        """Loads the certificate anew when it has been replaced. Connections that are open go on with theirs."""
        while True:
            await asyncio.sleep(look_every_s)
            now = self._content()
            if now is None or now == self._loaded:
                continue
            try:
                # Tried on another one first: a context that takes a certificate without its key has neither.
                self._new_context()
                self._load(self.context)
                log.info("certificate renewed", folder=str(self._folder))
            except BadCertificate as error:
                log.warning("certificate not renewed", reason=str(error))
            self._loaded = now

    def _content(self) -> tuple[bytes, bytes] | None:
        """None while the files are not there, as for a moment when they are replaced."""
        folder = snapshot(self._folder)
        try:
            return (folder / CERTIFICATE).read_bytes(), (folder / KEY).read_bytes()
        except OSError:
            return None

    def _new_context(self) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._load(made)
        return made

    def _load(self, context: ssl.SSLContext) -> None:
        folder = snapshot(self._folder)
        try:
            # A key with a password would be asked for on a terminal that is not there.
            context.load_cert_chain(folder / CERTIFICATE, folder / KEY, password="")
        except (OSError, ValueError):  # an SSLError is an OSError
            raise BadCertificate(
                f"{self._folder}: holds no {CERTIFICATE} with its {KEY}; mount a Secret of type kubernetes.io/tls"
            ) from None
