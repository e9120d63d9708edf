"""API keys: nobody without one is answered, whoever has one is, and no key is written down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from outrider_serving.api.keys import ApiKeys, BadKeys
from structlog.testing import capture_logs
from support.certificates import mount
from unit.api.log_lines import line_of
from unit.api.scripted import MODEL, Served, face, serving, tiny_tokenizer

KEYS = {"alice": b"sk-alice-0123456789\n", "bob": b"sk-bob-0123456789"}
HELLO = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return mount(tmp_path / "keys", KEYS)


@pytest.fixture
def served(folder: Path) -> Iterator[Served]:
    with serving(face(tiny_tokenizer(), keys=ApiKeys(folder))) as running:
        yield running


def status(http: httpx.Client, authorization: str | None, path: str = "/v1/models") -> int:
    return http.get(path, headers={} if authorization is None else {"authorization": authorization}).status_code


@pytest.mark.parametrize("key", [value.decode().strip() for value in KEYS.values()])
def test_the_official_client_is_answered_with_any_of_the_keys(served: Served, key: str) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=key, max_retries=0) as client:
        assert client.completions.create(model=MODEL, prompt="x").choices[0].text
        assert list(client.completions.create(model=MODEL, prompt="x", stream=True))


def test_the_official_client_is_told_what_is_wrong_with_another(served: Served) -> None:
    with (
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="sk-mallory", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        client.completions.create(model=MODEL, prompt="x")
    assert refused.value.code == "invalid_api_key"
    assert refused.value.type == "invalid_request_error"
    assert refused.value.response.headers["www-authenticate"] == "Bearer"
    assert "sk-mallory" not in refused.value.response.text
    assert served.generator.requests == []
    assert served.rejected == 1


@pytest.mark.parametrize(
    "authorization",
    [
        *(
            None,
            "",
            "Bearer",
            "Bearer sk-alice",
            "Bearer sk-alice-0123456789x",
            "Bearer SK-ALICE-0123456789",
        ),
        *("Basic sk-alice-0123456789", "sk-alice-0123456789", "Bearer sk-alice-0123456789,sk-bob-0123456789"),
        "Bearer \xff\xfe",
    ],
)
def test_whatever_is_no_key_is_refused(http: httpx.Client, authorization: str | None) -> None:
    encoded = None if authorization is None else authorization.encode("latin-1")
    headers = {} if encoded is None else {b"authorization": encoded}
    assert http.get("/v1/models", headers=headers).status_code == 401


@pytest.mark.parametrize("authorization", ["Bearer sk-bob-0123456789", "bearer  sk-bob-0123456789"])
def test_the_scheme_is_read_as_http_has_it(http: httpx.Client, authorization: str) -> None:
    assert status(http, authorization) == 200


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
def test_what_the_cluster_polls_is_open(http: httpx.Client, path: str) -> None:
    assert status(http, None, path) == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models/x", "/nowhere", "/health/", "//health"])
def test_nothing_else_is_not_even_whether_it_is_there(http: httpx.Client, path: str) -> None:
    assert status(http, None, path) == 401
    assert http.post(path, json=HELLO).status_code == 401


def test_keys_are_read_anew_when_they_change(folder: Path, http: httpx.Client) -> None:
    assert status(http, "Bearer sk-alice-0123456789") == 200
    mount(folder, {"bob": KEYS["bob"], "carol": b"sk-carol"})
    assert status(http, "Bearer sk-alice-0123456789") == 401
    assert status(http, "Bearer sk-carol") == 200
    assert status(http, "Bearer sk-bob-0123456789") == 200
    mount(folder, {"empty": b"\n"})
    assert status(http, "Bearer") == 401
    assert status(http, "Bearer sk-bob-0123456789") == 401


def test_a_file_that_is_edited_in_its_place_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("first")
    keys = ApiKeys(tmp_path)
    file.write_text("the second")
    assert keys.holds("the second")
    assert not keys.holds("first")


def test_while_the_files_are_gone_the_keys_are_what_they_were(folder: Path) -> None:
    keys = ApiKeys(folder)
    (folder / "..data").unlink()
    assert keys.holds("sk-bob-0123456789")


def test_no_key_is_in_the_log_or_in_the_metrics(served: Served, http: httpx.Client) -> None:
    def asked(key: str) -> httpx.Response:
        return http.post("/v1/chat/completions", json=HELLO, headers={"authorization": f"Bearer {key}"})

    with capture_logs() as lines:
        ours = [line_of(lines, asked(key)) for key in ("sk-bob-0123456789", "sk-mallory")]
    assert [line["status"] for line in ours] == [200, 401]
    assert ours[1]["refused"] == "invalid_api_key"
    for key in ("sk-bob", "sk-mallory", "sk-alice"):
        assert key not in str(lines)
        assert key not in http.get("/metrics").text
        assert key not in str(vars(served.app))


@pytest.mark.parametrize("files", [{}, {"empty": b" \n"}])
def test_a_folder_without_a_key_is_told_with_the_remedy(files: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(BadKeys, match="holds no key; each value of the Secret is one"):
        ApiKeys(mount(tmp_path / "keys", files))


def test_a_folder_that_is_not_there_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(BadKeys, match="No such file or directory; mount the Secret"):
        ApiKeys(tmp_path / "keys")
