"""Both commands as a pod ends them: who has not heard of it is still answered, and nothing is waited for in vain."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from support.ports import free_port
from support.run import running
from support.tiny import tiny_llama_dir
from support.waiting import PATIENCE_S, eventually

ASKED = {"model": "tiny", "prompt": "the theatre", "max_tokens": 12, "temperature": 0}
LINGER = "--linger-s=3600"


def test_told_to_end_both_go_on_for_those_who_have_not_heard_of_it(tmp_path: Path) -> None:
    model = f"file://{tiny_llama_dir(tmp_path / 'model')}"
    draft_port, draft_http, port = free_port(), free_port(), free_port()
    common = [f"--model={model}", "--host=127.0.0.1", "--max-model-len=128", LINGER]
    of_draft = [f"--port={draft_port}", f"--http-port={draft_http}"]
    of_target = ["--served-model-name=tiny", f"--port={port}", f"--draft=127.0.0.1:{draft_port}", "--mode=Always"]
    with (
        running("draft", tmp_path / "draft.log", *common, *of_draft) as draft,
        running("target", tmp_path / "target.log", *common, *of_target) as target,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE_S) as http,
        httpx.Client(base_url=f"http://127.0.0.1:{draft_http}", trust_env=False) as http_of_draft,
        contextlib.ExitStack() as ends,
    ):
        # Where this fails in the middle, neither is to linger.
        ends.callback(target.kill)
        ends.callback(draft.kill)

        def draft_state() -> str:
            assert target.poll() is None, (tmp_path / "target.log").read_text()
            try:
                [each] = http.get("/health").json()["speculation"]["drafts"]
            except (httpx.TransportError, ValueError):
                return ""
            return str(each["state"])

        eventually("a draft that is connected", lambda: draft_state() == "Connected")
        before = http.post("/v1/completions", json=ASKED).json()["choices"]

        draft.send_signal(signal.SIGTERM)
        eventually("a target that knows that its draft ends", lambda: draft_state() == "Draining")
        assert http_of_draft.get("/ready").status_code == 503
        assert http_of_draft.get("/health").status_code == 200

        target.send_signal(signal.SIGTERM)
        eventually("a target that is not ready", lambda: http.get("/ready").status_code == 503)
        answer = http.post("/v1/completions", json=ASKED)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert answer.json()["choices"] == before
        assert draft.poll() is None, "a target is still connected"

        # The draft first: without a target it would end by itself, and a signal would meet its very end.
        for process in (draft, target):
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0, "the second signal ends it"


@pytest.mark.parametrize("role", ["target", "draft"])
def test_a_pod_that_is_deleted_while_its_model_comes_ends_by_itself(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal alone does not end process 1 of a container."""
    monkeypatch.setenv("OUTRIDER_CACHE", str(tmp_path / "cache"))
    with socket.create_server(("127.0.0.1", 0)) as silent_mirror:
        silent_mirror.settimeout(PATIENCE_S)
        mirror = f"http://127.0.0.1:{silent_mirror.getsockname()[1]}"
        flags = ["--model=hf://org/large", f"--model-mirror={mirror}", "--host=127.0.0.1", "--port=0"]
        with running(role, tmp_path / "log", *flags, *(["--http-port=0"] if role == "draft" else [])) as process:
            asking, _ = silent_mirror.accept()
            with asking:
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM, (tmp_path / "log").read_text()


def mirror_of(folder: Path, asked: threading.Event, answers: threading.Event) -> ThreadingHTTPServer:
    """Serves the folder from when `answers` is set."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.set()
            answers.wait()
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    return ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))


@pytest.mark.parametrize("role", ["target", "draft"])
def test_of_two_on_one_port_the_one_whose_model_comes_later_ends_and_says_so(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find the port free when they begin, and one of them would get what is meant for the other."""
    monkeypatch.setenv("OUTRIDER_CACHE", str(tmp_path / "cache"))
    model = tiny_llama_dir(tmp_path / "mirror" / "org" / "tiny")
    port, probed = free_port(), free_port()
    asked, answers = threading.Event(), threading.Event()
    common = ["--host=127.0.0.1", f"--port={port}", "--max-model-len=128"]
    with contextlib.ExitStack() as ends:
        mirror = ends.enter_context(mirror_of(tmp_path / "mirror", asked, answers))
        ends.callback(mirror.shutdown)
        threading.Thread(target=mirror.serve_forever, args=(0.01,)).start()
        ends.callback(answers.set)
        of_later = [f"--model-mirror=http://127.0.0.1:{mirror.server_port}", "--model=hf://org/tiny", *common]
        of_first = [f"--model=file://{model}", *common]
        if role == "draft":
            of_later.append("--http-port=0")
            of_first.append(f"--http-port={probed}")
        ready_at = f"http://127.0.0.1:{port if role == 'target' else probed}/ready"

        def ready() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(ready_at, trust_env=False).status_code == 200
            return False

        later = ends.enter_context(running(role, tmp_path / "later.log", *of_later))
        assert asked.wait(PATIENCE_S), (tmp_path / "later.log").read_text()
        first = ends.enter_context(running(role, tmp_path / "first.log", *of_first))
        eventually("one that is ready", ready)
        answers.set()
        assert later.wait(PATIENCE_S) == 2
        assert f"error: --port: cannot listen on 127.0.0.1:{port} (" in (tmp_path / "later.log").read_text()
        assert first.poll() is None
        assert ready()
