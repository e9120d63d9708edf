"""Both commands as a pod ends them: who has not heard of it is still answered, and nothing is waited for in vain."""

from __future__ import annotations

import contextlib
import signal
import socket
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
