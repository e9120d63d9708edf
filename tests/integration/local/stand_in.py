"""Stands in for outrider-target and outrider-draft: real HTTP and real signals, no model.

What it is to do differently comes in the environment, as STAND_IN_TARGET or STAND_IN_DRAFT, a JSON object:
refuse (text: exit 2 with it), crash (exit code: before it is ready), deaf (true: SIGTERM is ignored),
child (true: starts a process of its own), held (names: those are not ready before they are let go, by a file), link
(what the target says of its draft, or of all), links (of each). What it was told it writes down
under its name in the run: target, draft, or of several draft-1, draft-2 …

GET /name is answered with that name, GET /stream with the name twenty times, for two seconds; SIGTERM lets streams end.
"""

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

STREAMS: list[object] = []


def main() -> None:
    role = Path(sys.argv[0]).name.removeprefix("outrider-")
    wish = json.loads(os.environ.get(f"STAND_IN_{role.upper()}", "{}"))
    flags = dict(arg.removeprefix("--").split("=", 1) for arg in sys.argv[1:])
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    told = {"argv": sys.argv[1:], "env": dict(os.environ), "affinity": affinity, "pid": os.getpid()}
    told["writable"] = all(os.access(os.environ[name], os.W_OK) for name in ("HOME", "TMPDIR"))
    name = Path(os.environ["HOME"]).parent.name  # the folder that the runner gave it
    Path(os.environ["STAND_IN_TOLD"], f"{name}.json").write_text(json.dumps(told))
    if "refuse" in wish:
        _say(f"outrider-{role}: error: {wish['refuse']}")
        sys.exit(2)
    if "crash" in wish:
        _say(f"{role} fell over")
        sys.exit(wish["crash"])
    if wish.get("child"):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[0]])
    signal.signal(signal.SIGTERM, signal.SIG_IGN if wish.get("deaf") else lambda *_: drain())
    _say(json.dumps({"event": "listening", "role": role}))
    serve(role, name, flags, wish)


def drain() -> None:
    """Ends when the last stream has."""

    def end() -> None:
        while STREAMS:
            time.sleep(0.02)
        os._exit(0)

    threading.Thread(target=end).start()


def drafts_told_of() -> list[str]:
    """Those that the file lists which the target was named."""
    files = [arg.removeprefix("--draft=file://") for arg in sys.argv[1:] if arg.startswith("--draft=file://")]
    return [address for file in files for address in Path(file).read_text().split()]


def serve(role: str, name: str, flags: dict[str, str], wish: dict[str, Any]) -> None:
    """Answers /ready, /health and /metrics; /ready only after a moment, as if a model were loading."""
    started_s = time.monotonic()
    let_go = Path(os.environ["STAND_IN_TOLD"], f"{name}.let-go")

    def loads() -> bool:
        held = name in wish.get("held", ()) and not let_go.exists()
        return held or time.monotonic() - started_s < 0.6

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            elapsed_s = time.monotonic() - started_s
            status = 503 if self.path == "/ready" and loads() else 200
            if self.path == "/stream":
                self.stream()
                return
            bodies = {"/health": health(wish), "/metrics": metrics(role, elapsed_s), "/name": name}
            body = bodies.get(self.path, "")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def stream(self) -> None:
            STREAMS.append(self)
            self.send_response(200)
            self.end_headers()
            for _ in range(20):
                self.wfile.write(name.encode() + b"\n")
                time.sleep(0.1)
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            STREAMS.remove(self)

        def log_message(self, *_: object) -> None:
            pass

    port = int(flags["port" if role == "target" else "http-port"])
    http.server.ThreadingHTTPServer.allow_reuse_address = True
    http.server.ThreadingHTTPServer((flags["host"], port), Handler).serve_forever()


def health(wish: dict[str, Any]) -> str:
    drafts = drafts_told_of()
    link = wish.get("link", {"state": "Connected", "model": "a draft", "reason": ""})
    links = wish.get("links", [link] * len(drafts))
    each = [{"address": address, **of_draft} for address, of_draft in zip(drafts, links, strict=True)]
    return json.dumps({"status": "ok", "model": "a", "speculation": {"mode": "Auto", "draft": link, "drafts": each}})


def metrics(role: str, elapsed_s: float) -> str:
    """A target that has made 100 tokens a second in 40 steps, a draft that grows 80 levels a second."""
    if role == "draft":
        counted = {"levels": 80, "tokens": 320, "commits": 40, "commit_hits": 30}
        lines = [f"outrider_draft_{name}_total {rate * elapsed_s}" for name, rate in counted.items()]
        return "\n".join([*lines, "outrider_draft_sequences 2", ""])
    itl = "outrider_inter_token_latency_seconds"
    return "\n".join(
        [
            f"outrider_generation_tokens_total {100 * elapsed_s}",
            f"outrider_decode_tokens_total {100 * elapsed_s}",
            f"outrider_decode_sequence_steps_total {40 * elapsed_s}",
            f'{itl}_bucket{{le="0.01"}} {50 * elapsed_s}',
            f'{itl}_bucket{{le="0.02"}} {100 * elapsed_s}',
            f'{itl}_bucket{{le="+Inf"}} {100 * elapsed_s}',
            'outrider_requests_total{outcome="stop"} 3',
            "outrider_num_requests_running 2",
            "outrider_num_requests_waiting 1",
            "outrider_speculation_goodput_gain 1.42",
            "",
        ]
    )


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
