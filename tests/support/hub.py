"""A stand-in for a Hugging Face hub: its API of one model, small files from git, large ones from another host."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from support.proxy import Proxy, proxy_before, serving

COMMIT = "a" * 40
LARGE_BYTES = 1000  # from here on a file is kept outside git


@dataclass
class Hub:
    """One model. sizes: what is told of files instead of the truth."""

    name: str
    files: dict[str, bytes]
    token: str | None = None  # None: open to all
    revisions: tuple[str, ...] = ("main",)
    sizes: dict[str, int] = field(default_factory=dict)

    def siblings(self) -> list[dict[str, object]]:
        return [self._sibling(name, content) for name, content in self.files.items()]

    def _sibling(self, name: str, content: bytes) -> dict[str, object]:
        size = self.sizes.get(name, len(content))
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        sibling: dict[str, object] = {"rfilename": name, "size": size, "blobId": git}
        if len(content) >= LARGE_BYTES:
            sibling["lfs"] = {"size": size, "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 134}
        return sibling


@contextmanager
def hub_server(hub: Hub) -> Iterator[Proxy]:
    """Serves the hub; what HF_ENDPOINT has to name is the proxy before it."""
    with serving(_handler(hub)) as port, proxy_before(f"127.0.0.1:{port}") as proxy:
        yield proxy


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.startswith("/store/"):
                # As of a signed address: it is refused with a second proof of who asks.
                self._content(hub.files[path.removeprefix("/store/")], self.headers["Authorization"] is None)
            elif hub.token is not None and self.headers["Authorization"] != f"Bearer {hub.token}":
                known = self.headers["Authorization"] is not None
                problem = ("X-Error-Message", "Invalid credentials in Authorization header")
                self._answer(401, [problem if known else ("X-Error-Code", "RepoNotFound")])
            elif path.startswith(f"/api/models/{hub.name}"):
                self._model(path.removeprefix(f"/api/models/{hub.name}").removeprefix("/revision/") or "main")
            elif path.startswith(f"/{hub.name}/resolve/{COMMIT}/"):
                self._file(path.rpartition("/")[2])
            else:
                self._answer(404, [("X-Error-Code", "RepoNotFound")])

        def _model(self, revision: str) -> None:
            if revision not in hub.revisions:
                self._answer(404, [("X-Error-Code", "RevisionNotFound")])
                return
            model = {"id": hub.name, "sha": COMMIT, "siblings": hub.siblings(), "tags": [], "private": False}
            self._answer(200, [("Content-Type", "application/json")], json.dumps(model).encode())

        def _file(self, name: str) -> None:
            if len(hub.files[name]) < LARGE_BYTES:
                self._content(hub.files[name], allowed=True)
                return
            # Another host by its name, on this machine by its address.
            port = self.headers["Host"].rpartition(":")[2]
            self._answer(302, [("Location", f"http://localhost:{port}/store/{name}?Signature=proof-of-the-hub")])

        def _content(self, content: bytes, allowed: bool) -> None:
            if not allowed:
                self._answer(400, [])
                return
            span = self.headers["Range"]
            start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
            described = [("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")] if span else []
            self._answer(206 if span else 200, described, content[start:])

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes = b"") -> None:
            self.send_response(status)
            for name, value in (*headers, ("Content-Length", str(len(content)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Tests read what was asked, not a log."""

    return Handler
