"""Pods as the autoscaler reads them: HTTP at addresses of the loopback, and the metrics of a load that a test sets."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from outrider_operator.autoscaling.pods import SeenPod

EARLIER = datetime(2026, 1, 1, tzinfo=UTC)
LATENCY_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Path to what is answered: the body, or the status of a failure.
Answers = Callable[[str], str | int]


@contextmanager
def answering(host: str, port: int, answers: Answers, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Answers there, and gives the port; 0 for one that is free. OSError where it cannot be had."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = answers(self.path)
            body = said.encode() if isinstance(said, str) else b""
            self.send_response(said if isinstance(said, int) else 200)
            self.send_header("Content-Type", "text/plain; charset=utf-8")  # Prometheus 3 asks for one
            if isinstance(said, int) and 300 <= said < 400:
                self.send_header("Location", "http://elsewhere.invalid/")
            self.send_header("Content-Length", str(len(body)))
            with suppress(ConnectionError):  # who asked had a deadline
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer((host, port), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def page(values: dict[str, float], histograms: dict[str, dict[float, float]] | None = None) -> str:
    """The text format. Names without the prefix, with a label where there is one: `step_time_seconds{tokens="1"}`."""
    lines = []
    for name, value in values.items():
        bare, _, label = name.rstrip("}").partition("{")
        lines.append(f'outrider_{bare}{{model_name="m"{"," + label if label else ""}}} {value}')
    for name, buckets in (histograms or {}).items():
        bounds = [*((str(bound), count) for bound, count in buckets.items()), ("+Inf", max(buckets.values()))]
        lines += [f'outrider_{name}_bucket{{model_name="m",le="{bound}"}} {count}' for bound, count in bounds]
    return "\n".join(lines) + "\n"


@dataclass
class Load:
    """What clients ask of one target, and how it fares."""

    running: float = 0.0
    waiting: float = 0.0
    tokens_per_s: float = 0.0
    requests_per_s: float = 0.0
    ttft_s: float = 0.1
    itl_s: float = 0.02
    gain: float = 1.5
    accepted: float = 0.7  # of the nodes at each depth


@dataclass
class FakeTarget:
    """A target. Its counters grow with the time that passes between two readings, by the load as it is then."""

    load: Load = field(default_factory=Load)
    allowed: bool = True
    connected: int = 1
    incompatible: int = 0
    health: str = "{}"
    broken: bool = False
    max_num_seqs: int = 8
    _at_s: float = field(default_factory=time.monotonic)
    _counts: dict[str, float] = field(default_factory=dict)
    _buckets: dict[str, dict[float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str) -> str | int:
        if self.broken:
            return 500
        return self.health if path == "/health" else self.metrics()

    def metrics(self) -> str:
        with self._lock:
            now_s = time.monotonic()
            self._grow(now_s - self._at_s)
            self._at_s = now_s
            return page({**self._gauges(), **self._counts}, self._buckets)

    def _grow(self, elapsed_s: float) -> None:
        load = self.load
        tokens, requests = load.tokens_per_s * elapsed_s, load.requests_per_s * elapsed_s
        trees = tokens / 2
        grown = {
            "requests_arrived_total": requests,
            "prompt_tokens_total": 100 * requests,
            "generation_tokens_total": tokens,
            "decode_tokens_total": tokens,
            "decode_sequence_steps_total": tokens / 2,
            "spec_decode_num_drafts_total": trees,
            "spec_decode_num_draft_tokens_total": 4 * trees,
            "spec_decode_num_draft_levels_total": 2 * trees,
            "spec_decode_num_accepted_tokens_total": (load.accepted + load.accepted**2) * trees,
            'spec_decode_num_accepted_tokens_per_pos_total{position="0"}': load.accepted * trees,
            'spec_decode_num_accepted_tokens_per_pos_total{position="1"}': load.accepted**2 * trees,
            'step_seconds_total{part="forward"}': elapsed_s,
        }
        for name, more in grown.items():
            self._counts[name] = self._counts.get(name, 0.0) + more
        self._observe("inter_token_latency_seconds", load.itl_s, tokens)
        self._observe("time_to_first_token_seconds", load.ttft_s, requests)

    def _observe(self, histogram: str, seconds: float, count: float) -> None:
        buckets = self._buckets.setdefault(histogram, dict.fromkeys(LATENCY_BOUNDS_S, 0.0))
        for bound in buckets:
            buckets[bound] += count if seconds <= bound else 0.0

    def _gauges(self) -> dict[str, float]:
        load = self.load
        curve = {f'step_time_seconds{{tokens="{width}"}}': 0.02 + 0.00015 * width for width in (1, 64, 512)}
        return {
            "num_requests_running": load.running,
            "num_requests_waiting": load.waiting,
            "kv_cache_usage_perc": min(1.0, load.running / self.max_num_seqs),
            "max_num_seqs": self.max_num_seqs,
            "speculation_goodput_gain": load.gain,
            "draft_goodput_gain": load.gain,
            "speculation_allowed": float(self.allowed),
            "draft_connected": self.connected,
            "draft_incompatible": self.incompatible,
            "step_time_sequence_seconds": 0.0,
            **curve,
        }


@dataclass
class FakeDraft:
    """A draft, busy for this share of its time."""

    busy: float = 0.2
    _at_s: float = field(default_factory=time.monotonic)

    def answer(self, path: str) -> str | int:
        computed_s = self.busy * (time.monotonic() - self._at_s)
        return page(
            {
                "draft_forward_seconds_total": computed_s,
                "draft_level_seconds": 0.0015,
                "draft_level_sequence_seconds": 0.00002,
            }
        )


def ready_pod(uid: str, port: int, restarts: int = 0, https: bool = False) -> SeenPod:
    """A target's pod, as the operator has it, that answers at the loopback."""
    return SeenPod(
        uid=uid,
        namespace="chat",
        name=uid,
        role="target",
        revision="r",
        created=EARLIER,
        ip="127.0.0.1",
        port=port,
        https=https,
        restarts=restarts,
        ready=True,
        unready_since=EARLIER,
        hopeless=False,
        model=(),
    )
