"""The client that asks from inside a pod: what it says of answers, and of what went wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "e2e_cluster" / "chat_client.py"
USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


def piece(text: str, reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": reason}]}


# What the model of this name streams.
STREAMS: dict[str, list[dict[str, Any]]] = {
    "whole": [piece("two "), piece("words", "stop"), USAGE],
    "cut": [piece("two ")],
    "wrong": [piece("two "), {"error": {"message": "out of memory"}}],
}


class Model(BaseHTTPRequestHandler):
    """Closes the connection at an answer's end, as HTTP/1.0 has it."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        events = STREAMS.get(asked["model"])
        self.send_response(503 if events is None else 200)
        self.end_headers()
        for event in events or []:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.write(b"no such model" if events is None else b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def said(url: str, *models: str, endless: bool = False) -> list[dict[str, Any]]:
    """All that the client says; its input ends at once."""
    told = {"requests": [{"model": model} for model in models], "at_once": 2, "endless": endless}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), url], input=f"{json.dumps(told)}\n", capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_answer_is_told_when_it_begins_and_when_it_is_whole(url: str) -> None:
    answer = {"text": "two words", "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 2}
    assert said(url, "whole") == [{"begun": 0}, {"index": 0, "answer": answer}]


@pytest.mark.parametrize(
    ("model", "words"),
    [("cut", "the stream broke off after 'two '"), ("wrong", "out of memory"), ("unknown", "status 503")],
)
def test_what_goes_wrong_is_a_failure_with_its_reason(url: str, model: str, words: str) -> None:
    last = said(url, model)[-1]
    assert last["index"] == 0
    assert words in last["failure"]


def test_each_request_is_asked_once_however_many_are_in_flight(url: str) -> None:
    answered = [line["index"] for line in said(url, "whole", "whole", "whole", "whole", "whole") if "answer" in line]
    assert sorted(answered) == [0, 1, 2, 3, 4]


def test_what_is_under_way_when_the_input_ends_is_still_answered(url: str) -> None:
    lines = said(url, "whole", endless=True)
    begun = sum("begun" in line for line in lines)
    assert begun == sum("answer" in line for line in lines)
