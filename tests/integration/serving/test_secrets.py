"""Both commands as a pod starts them, with the Secrets that it mounts: mutual TLS, API keys, HTTPS, all replaced."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path

import httpx
import pytest
from support.certificates import authority, identity_files, mount
from support.ports import free_port
from support.run import running
from support.tiny import tiny_llama_dir
from support.waiting import eventually

NAME = "localhost"
ASKED = {"model": "tiny", "prompt": "the theatre", "max_tokens": 12, "temperature": 0}


def test_both_commands_with_all_their_secrets(tmp_path: Path) -> None:
    model = f"file://{tiny_llama_dir(tmp_path / 'model')}"
    signing, public = authority(), authority()
    of_draft = mount(tmp_path / "draft", identity_files(signing, name=NAME))
    of_target = mount(tmp_path / "target", identity_files(signing, name="chat-target.team.svc"))
    keys = mount(tmp_path / "keys", {"alice": b"sk-alice"})
    serving = mount(tmp_path / "serving", identity_files(public, name=NAME))
    draft_port, port = free_port(), free_port()
    log = {role: tmp_path / f"{role}.log" for role in ("draft", "target")}
    of_target_alone = [
        *("--served-model-name=tiny", f"--port={port}", f"--draft={NAME}:{draft_port}"),
        *("--mode=Always", "--draft-patience-ms=5000", "--min-probability=0"),
        *(f"--identity={of_target}", f"--api-keys={keys}", f"--tls={serving}"),
    ]
    common = [f"--model={model}", "--host=127.0.0.1", "--max-model-len=128"]
    with (
        running("draft", log["draft"], *common, f"--port={draft_port}", "--http-port=0", f"--identity={of_draft}"),
        running("target", log["target"], *common, *of_target_alone) as target,
        httpx.Client(
            base_url=f"https://{NAME}:{port}",
            verify=ssl.create_default_context(cafile=serving / "ca.crt"),
            trust_env=False,
        ) as http,
    ):

        def draft_is(state: str) -> bool:
            assert target.poll() is None, log["target"].read_text()
            try:
                return bool(http.get("/health").json()["speculation"]["draft"]["state"] == state)
            except httpx.TransportError:
                return False

        eventually("a draft that is connected", lambda: draft_is("Connected"))
        assert http.get("/ready").status_code == 200
        assert http.post("/v1/completions", json=ASKED).status_code == 401
        alice = {"authorization": "Bearer sk-alice"}
        answer = http.post("/v1/completions", json=ASKED, headers=alice)
        assert answer.status_code == 200, answer.text
        hits = [
            line for line in http.get("/metrics").text.splitlines() if line.startswith("outrider_draft_tree_hits_t")
        ]
        assert float(hits[0].split()[-1]) > 0, "the draft drafts over mutual TLS"

        mount(of_draft, identity_files(signing, name=NAME))
        mount(keys, {"bob": b"sk-bob"})
        assert http.post("/v1/completions", json=ASKED, headers=alice).status_code == 401
        again = http.post("/v1/completions", json=ASKED, headers={"authorization": "Bearer sk-bob"})
        assert again.json()["choices"] == answer.json()["choices"]
        assert draft_is("Connected")
    said = "".join(each.read_text() for each in log.values())
    for secret in ("sk-alice", "sk-bob", "PRIVATE", "BEGIN"):
        assert secret not in said


def test_who_is_turned_away_cannot_fill_the_log(tmp_path: Path) -> None:
    model = f"file://{tiny_llama_dir(tmp_path / 'model')}"
    folder = mount(tmp_path / "draft", identity_files(authority(), name=NAME))
    port, http_port = free_port(), free_port()
    flags = [f"--model={model}", "--host=127.0.0.1", f"--port={port}", f"--http-port={http_port}"]
    with running("draft", tmp_path / "log", *flags, f"--identity={folder}"):

        def ready() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{http_port}/ready", trust_env=False).is_success
            except httpx.TransportError:
                return False

        eventually("a draft that is ready", ready)
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while stranger.recv(4096):
                    pass
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert events == ["model loaded", "drafting"]


@pytest.mark.parametrize("role", ["draft", "target"])
def test_a_role_without_a_pair_ends_with_one_line(role: str, tmp_path: Path) -> None:
    files = {**identity_files(authority()), "tls.key": identity_files(authority())["tls.key"]}
    folder = mount(tmp_path / "identity", files)
    with running(role, tmp_path / "log", "--model=file:///nowhere", f"--identity={folder}") as process:
        assert process.wait(60) == 2
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.startswith(f"outrider-{role}: error: --identity: {folder}: tls.crt and tls.key are no pair")
