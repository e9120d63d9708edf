"""`helm test`: the pod that it starts, and what the script in it asks, of servers that answer in many ways."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.certificates import authority, identity_files, mount
from support.chart import NAMESPACE, Object, of_kind, rendered, the

SPEC = {"target": {"model": {"uri": "hf://org/big"}}}
EARTH = {"choices": [{"message": {"content": "Earth."}}], "usage": {"completion_tokens": 2}}
SILENCE = {"choices": [{"message": {"content": ""}}], "usage": {"completion_tokens": 0}}
OPERATOR = f"http://outrider-operator.{NAMESPACE}.svc:8080"
KEYS = "/etc/outrider/keys"


def pod(values: dict[str, Any] | None = None) -> Object:
    return the(rendered(values), "Pod")


def asked(values: dict[str, Any] | None = None) -> list[str]:
    """The script's arguments."""
    [container] = pod(values)["spec"]["containers"]
    assert container["command"] == ["python3", "-c"]
    arguments: list[str] = container["args"][1:]
    return arguments


def test_helm_starts_it_when_it_tests_and_takes_it_away_when_all_is_well() -> None:
    annotations = pod()["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "test"
    assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
    assert pod()["spec"]["restartPolicy"] == "Never"
    assert of_kind(rendered({"test": {"enabled": False}}), "Pod") == []


def test_it_is_none_of_the_operators_pods() -> None:
    items = rendered()
    labels = the(items, "Pod")["metadata"]["labels"]
    for selector in (
        the(items, "Deployment")["spec"]["selector"]["matchLabels"],
        the(items, "Service")["spec"]["selector"],
        the(items, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ):
        assert not selector.items() <= labels.items()


def test_models_let_it_in_as_they_do_the_operator() -> None:
    assert pod()["metadata"]["labels"]["app.kubernetes.io/name"] == "outrider-operator"


def test_without_a_model_it_asks_the_operator_alone() -> None:
    assert asked() == [OPERATOR]


def test_it_asks_the_model_that_is_named() -> None:
    here = f"http://coder-target.{NAMESPACE}.svc:8000"
    assert asked({"test": {"model": "coder"}}) == [OPERATOR, "coder", here]
    assert asked({"test": {"model": "chat/coder"}}) == [OPERATOR, "coder", "http://coder-target.chat.svc:8000"]


def test_else_it_asks_the_first_of_the_releases_models_where_its_spec_says() -> None:
    endpoint = {"port": 443, "tls": {"secretRef": {"name": "certificate"}}}
    models = {"b": SPEC, "a": {**SPEC, "endpoint": endpoint}}
    assert asked({"models": models}) == [OPERATOR, "a", f"https://a-target.{NAMESPACE}.svc:443"]
    assert asked({"models": models, "test": {"model": "b"}})[1:] == ["b", f"http://b-target.{NAMESPACE}.svc:8000"]


def test_it_has_the_keys_of_a_model_that_wants_one() -> None:
    made = pod({"models": {"a": {**SPEC, "endpoint": {"auth": {"secretRef": {"name": "keys-of-a"}}}}}})["spec"]
    assert made["volumes"] == [{"name": "keys", "secret": {"secretName": "keys-of-a"}}]
    assert made["containers"][0]["volumeMounts"] == [{"name": "keys", "mountPath": KEYS, "readOnly": True}]
    assert "volumes" not in pod({"models": {"a": SPEC}})["spec"]


@pytest.mark.parametrize(
    "spec",
    [
        {**SPEC, "endpoint": None},
        {**SPEC, "endpoint": {"port": None, "tls": None, "auth": None}},
        {**SPEC, "endpoint": {"auth": {"secretRef": None}}},
        {**SPEC, "endpoint": {"auth": {"secretRef": {"name": None}}}},
    ],
)
def test_null_at_any_level_of_a_models_values_is_as_nothing(spec: dict[str, Any]) -> None:
    assert asked({"models": {"a": spec}}) == [OPERATOR, "a", f"http://a-target.{NAMESPACE}.svc:8000"]
    assert "volumes" not in pod({"models": {"a": spec}})["spec"]


@dataclass
class Stand:
    """Stands in for the operator and a model. answers: status and body of each chat, in turn; the last for ever."""

    answers: list[tuple[int, Any]]
    requests: list[Any] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(*answers: tuple[int, Any], identity: Path | None = None) -> Iterator[Stand]:
    """identity: a folder with a certificate, for HTTPS."""
    stand = Stand(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200 if self.path == "/readyz" else 404, "ok")

        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions"
            stand.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            stand.keys.append(self.headers["Authorization"])
            self._answer(*(stand.answers.pop(0) if len(stand.answers) > 1 else stand.answers[0]))

        def _answer(self, status: int, body: Any) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Not into the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if identity is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity / "tls.crt", identity / "tls.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    stand.url = f"{'http' if identity is None else 'https'}://127.0.0.1:{server.server_port}"
    try:
        yield stand
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(*arguments: str, keys: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the script as the pod has it."""
    script: str = pod()["spec"]["containers"][0]["args"][0]
    if keys is not None:
        assert KEYS in script
        script = script.replace(KEYS, str(keys))
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_says_what_the_model_said() -> None:
    with serving((200, EARTH)) as stand:
        done = run(stand.url, "coder", stand.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "the operator answers"
    assert done.stdout.splitlines()[-1] == "and says: Earth."
    [request] = stand.requests
    assert request["model"] == "coder"
    assert request["temperature"] == 0
    assert stand.keys == [None]


def test_it_is_content_with_the_operator_where_no_model_is_named() -> None:
    with serving((200, EARTH)) as stand:
        done = run(stand.url)
    assert (done.returncode, done.stdout) == (0, "the operator answers\n")
    assert stand.requests == []


def test_it_asks_again_while_the_model_is_not_there_yet() -> None:
    with serving((503, "loading"), (200, EARTH)) as stand:
        done = run(stand.url, "coder", stand.url)
    assert done.returncode == 0, done.stderr
    assert len(stand.requests) == 2


@pytest.mark.parametrize("answer", [(404, {"error": "no model coder"}), (401, {"error": "no model coder"})])
def test_what_is_refused_is_told_at_once(answer: tuple[int, Any]) -> None:
    with serving(answer) as stand:
        done = run(stand.url, "coder", stand.url)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert f"{stand.url}/v1/chat/completions: HTTP Error {answer[0]}" in line
    assert "no model coder" in line
    assert len(stand.requests) == 1


def test_an_empty_answer_is_none() -> None:
    with serving((200, SILENCE)) as stand:
        done = run(stand.url, "coder", stand.url)
    assert done.returncode == 1
    assert "coder: an empty answer" in done.stderr


def test_it_shows_the_key_to_the_model_alone(tmp_path: Path) -> None:
    keys = mount(tmp_path / "keys", {"second": b"sk-2\n", "first": b"sk-1\n"})
    with serving((200, EARTH)) as stand:
        done = run(stand.url, "coder", stand.url, keys=keys)
    assert done.returncode == 0, done.stderr
    assert stand.keys == ["Bearer sk-1"]


def test_a_certificate_may_be_for_another_name(tmp_path: Path) -> None:
    identity = mount(tmp_path / "identity", identity_files(authority(), name="chat.example.com"))
    with serving((200, EARTH), identity=identity) as stand:
        done = run(stand.url, "coder", stand.url)
    assert done.returncode == 0, done.stderr
    assert "Earth." in done.stdout
