"""What is wrong is said in one line that names the field, and nothing stays behind."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import openai
import pytest
from e2e.asking import GREEDY, client, request
from e2e.conftest import Reference
from e2e.resources import CONTEXT_TOKENS, NAME, speculative_model
from e2e.running import Up
from e2e.tasks import TASKS

pytestmark = [pytest.mark.model_s, pytest.mark.timeout(600)]


def refusal(up: Up) -> str:
    """The one line on standard error of a run that ends by itself; fails if anything of it is left."""
    try:
        code = up.start().exit_code()
        left = up.processes()
    finally:
        up.kill()
    assert code == 1, up.everything_said()
    assert left == []
    [line] = up.errors()
    assert "Traceback" not in up.everything_said()
    return line


def test_an_unknown_field_is_named_with_its_line(tmp_path: Path) -> None:
    resource = speculative_model()
    resource["spec"]["target"]["maxModelLength"] = 1024
    up = Up(tmp_path, resource)
    line_number = 1 + next(i for i, line in enumerate(up.file.read_text().splitlines()) if "maxModelLength" in line)
    line = refusal(up)
    assert line.startswith(f"{up.file}:{line_number}:")
    assert "spec.target.maxModelLength" in line
    assert "maxModelLen" in line.replace("maxModelLength", "")


def test_a_model_that_is_not_there_is_named_with_its_path(tmp_path: Path) -> None:
    resource = speculative_model()
    resource["spec"]["target"]["model"]["uri"] = f"file://{tmp_path}/nowhere"
    line = refusal(Up(tmp_path / "up", resource))
    assert line.startswith("outrider: error:")
    assert "spec.target.model" in line
    assert f"{tmp_path}/nowhere" in line


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    resource = speculative_model()
    port = resource["spec"]["endpoint"]["port"]
    with socket.create_server(("127.0.0.1", port)):
        line = refusal(Up(tmp_path, resource))
    assert line.startswith(f"outrider: error: spec.endpoint.port: port {port} is in use")


def test_a_prompt_longer_than_the_context_is_a_bad_request(off: Up) -> None:
    messages = [{"role": "user", "content": "word " * 2 * CONTEXT_TOKENS}]
    with client(off.url) as face, pytest.raises(openai.BadRequestError) as raised:
        face.chat.completions.create(**request(TASKS[0], GREEDY, messages=messages))
    assert raised.value.code == "context_length_exceeded"
    assert raised.value.param == "messages"
    assert str(CONTEXT_TOKENS) in raised.value.message


def test_another_model_is_not_found(off: Up) -> None:
    with client(off.url) as face, pytest.raises(openai.NotFoundError) as raised:
        face.chat.completions.create(**request(TASKS[0], GREEDY, model="gpt-4o"))
    assert raised.value.code == "model_not_found"
    assert NAME in raised.value.message


@pytest.mark.parametrize(
    ("change", "param"),
    [({"temperature": 9}, "temperature"), ({"max_tokens": 0}, "max_tokens"), ({"stop": [""]}, "stop")],
    ids=lambda value: str(value),
)
def test_a_wrong_value_is_a_bad_request_that_names_its_field(off: Up, change: dict[str, Any], param: str) -> None:
    with client(off.url) as face, pytest.raises(openai.BadRequestError) as raised:
        face.chat.completions.create(**request(TASKS[0], GREEDY, **change))
    assert raised.value.param == param


@pytest.mark.parametrize("content", [b'{"model": "smollm2", "messages": [', b"[]", b"\xff"])
def test_malformed_json_is_a_bad_request_and_the_target_goes_on_serving(
    off: Up, reference: Reference, content: bytes
) -> None:
    response = off.post("/v1/chat/completions", content)
    assert response.status_code == 400
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    again = off.post("/v1/chat/completions", json.dumps(request(TASKS[0], GREEDY, max_tokens=1)).encode())
    assert again.is_success
    assert reference.answers(GREEDY)[0].text.startswith(again.json()["choices"][0]["message"]["content"])
