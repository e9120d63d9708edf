"""An HTTP proxy before a stand-in: it writes down what is asked, and cuts, holds or damages what is answered."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

CONTENT = (200, 206)


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    method: str
    path: str  # without the query
    span: str | None  # the Range header
    host: str
    authorization: str | None


@dataclass
class Proxy:
    """What to do to the answers, by the last part of the path, and what was asked so far."""

    upstream: str  # HOST:PORT
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    cuts: dict[str, list[int]] = field(default_factory=dict)  # bytes after which the next answers are closed
    holds: dict[str, int] = field(default_factory=dict)  # bytes after which answers wait for `released`
    released: threading.Event = field(default_factory=threading.Event)
    damages: set[str] = field(default_factory=set)  # whose answers have another first byte

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spans(self, name: str) -> list[str | None]:
        """The Range headers of all requests for the content of the file."""
        return [asked.span for asked in self.asked if asked.method == "GET" and asked.path.endswith(f"/{name}")]


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[int]:
    """Serves on a free port of the loopback, which it yields."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def proxy_before(upstream: str) -> Iterator[Proxy]:
    """A proxy before HOST:PORT."""
    proxy = Proxy(upstream)
    with serving(_handler(proxy)) as proxy.port:
        try:
            yield proxy
        finally:
            proxy.released.set()


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, path, headers.get("range"), headers["host"], headers.get("authorization"))
            proxy.asked.append(asked)
            connection = http.client.HTTPConnection(proxy.upstream, timeout=30)
            try:
                connection.request(self.command, self.path, headers=headers)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            if "Content-Length" not in answer.headers:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self._send(path.rpartition("/")[2] if answer.status in CONTENT else "", content)

        do_HEAD = do_GET

        def _send(self, name: str, content: bytes) -> None:
            if name in proxy.damages:
                content = bytes([content[0] ^ 1]) + content[1:]
            if proxy.cuts.get(name):
                content = content[: proxy.cuts[name].pop(0)]
            held_bytes = proxy.holds.get(name, len(content))
            try:
                self.wfile.write(content[:held_bytes])
                self.wfile.flush()
                if content[held_bytes:]:
                    proxy.released.wait()
                    self.wfile.write(content[held_bytes:])
            except ConnectionError:
                return  # the one who asked was killed

        def log_message(self, format: str, *args: object) -> None:
            """Tests read what was asked, not a log."""

    return Handler
