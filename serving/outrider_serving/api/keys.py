"""Who may ask: those who show one of the API keys. A key is written down nowhere, its digest only in memory."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from outrider_serving.api.errors import invalid_api_key
from outrider_serving.api.request_log import QUIET_PATHS
from outrider_serving.mounted import snapshot, why

# What the cluster polls: probes and scrapes have no key.
OPEN_PATHS = QUIET_PATHS

_Version = tuple[tuple[str, int, int, int], ...]


class BadKeys(ValueError):
    """The folder holds no key; the message says so. It never holds what is in a file."""


class ApiKeys:
    """The keys of a folder, one a file, read anew when the files have changed."""

    def __init__(self, folder: Path) -> None:
        """Raises BadKeys where there is none."""
        self._folder = folder
        self._version: _Version = ()
        self._digests: list[bytes] = []
        try:
            self._read()
        except OSError as error:
            raise BadKeys(f"{folder}: {why(error)}; mount the Secret with the API keys") from None
        if not self._digests:
            raise BadKeys(f"{folder}: holds no key; each value of the Secret is one")

    def holds(self, offered: str) -> bool:
        """Takes as long for a key that is nearly right as for any other."""
        with contextlib.suppress(OSError):  # in the middle of being replaced: the next request looks again
            self._read()
        digest = _digest(offered.encode("latin-1"))
        return any([hmac.compare_digest(digest, each) for each in self._digests])  # noqa: C419 all, whichever it is

    def _read(self) -> None:
        files = [file for file in sorted(snapshot(self._folder).iterdir()) if not file.name.startswith("..")]
        version = tuple((str(file), (about := file.stat()).st_ino, about.st_mtime_ns, about.st_size) for file in files)
        if version == self._version:
            return
        contents = [file.read_bytes().strip() for file in files]
        self._digests = [_digest(content) for content in contents if content]
        self._version = version


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


class RequireKey:
    """ASGI middleware: nothing but OPEN_PATHS without a key of `keys`, not even whether a path is there."""

    def __init__(self, app: ASGIApp, keys: ApiKeys, on_rejected: Callable[[], None]) -> None:
        self._app = app
        self._keys = keys
        self._on_rejected = on_rejected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            scheme, _, offered = Headers(scope=scope).get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not self._keys.holds(offered.strip()):
                self._on_rejected()
                raise invalid_api_key(given=bool(offered))
        await self._app(scope, receive, send)
