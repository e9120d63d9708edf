"""A model fetched from a bucket that speaks S3 by the real command."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from support.bucket import Server, libraries, python_path, s3_server
from support.fetching import Fetch, part_arrived, parts_of
from support.proxy import Proxy, proxy_before

WEIGHTS = Random(0).randbytes(3_000_000)
MODEL = {"config.json": b"{}", "model.safetensors": WEIGHTS}
OTHERS = {"README.md": b"#", "older/model.safetensors": b"other"}
URI = "s3://models/acme/tiny"
WEIGHTS_PATH = "/models/acme/tiny/model.safetensors"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "the-secret", "AWS_REGION": "us-east-1"}
MARK = "outrider.json"
HELD_BYTES = 1_200_000
PART_BYTES = 5 << 20  # the least that a bucket takes


class Store:
    """An S3 server with the model, and the proxy before it that the command knows."""

    def __init__(self, server: Server, proxy: Proxy, folder: Path) -> None:
        self.server = server
        self.proxy = proxy
        self.directory = folder / "cache" / "tiny"
        self.started: list[Fetch] = []
        self._logs = folder / "logs"
        server.put("/models")
        for name, content in {**MODEL, **OTHERS}.items():
            server.put(f"/models/acme/tiny/{name}", content)

    def fetch(self, uri: str = URI, *, before: tuple[Path, ...] = (), **environment: str) -> Fetch:
        # No keys from the machine that this runs on, should it be one of a cloud.
        settings = {"AWS_ENDPOINT_URL": self.proxy.url, "AWS_EC2_METADATA_DISABLED": "true", **KEYS}
        found = python_path(*before, libraries())
        self.started.append(Fetch(self._logs, {**settings, **found, **environment}, uri, str(self.directory)))
        return self.started[-1]

    def content(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.directory.iterdir() if path.name != MARK}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def store(server: Server, tmp_path: Path) -> Iterator[Store]:
    with proxy_before(server.address) as proxy:
        store = Store(server, proxy, tmp_path)
        yield store
        for fetch in store.started:
            fetch.killed()
    server.forget_everything()


def test_a_model_is_whole_and_asked_for_once(store: Store) -> None:
    first = store.fetch(f"{URI}/")
    assert first.ends() == 0, first.said()
    assert store.content() == MODEL
    assert "the-secret" not in first.said()
    assert "AKIAEXAMPLE" not in first.said()
    store.proxy.asked.clear()
    assert store.fetch(f"{URI}/").ends() == 0
    assert store.proxy.asked == []


def test_a_cut_connection_is_taken_up_where_it_broke_off(store: Store) -> None:
    store.proxy.cuts["model.safetensors"] = [1 << 20, 1 << 19]
    fetch = store.fetch()
    assert fetch.ends() == 0, fetch.said()
    assert store.content() == MODEL
    expected = ["bytes=0-", f"bytes={1 << 20}-", f"bytes={3 << 19}-"]
    assert store.proxy.spans("model.safetensors") == expected


def test_a_killed_run_is_taken_up_by_the_next(store: Store) -> None:
    store.proxy.holds["model.safetensors"] = HELD_BYTES
    killed = store.fetch()
    there_bytes = part_arrived(store.directory, "model.safetensors", HELD_BYTES - 65_536)
    killed.killed()
    assert not store.directory.exists()
    store.proxy.holds.clear()
    store.proxy.asked.clear()
    assert store.fetch().ends() == 0
    assert store.content() == MODEL
    assert store.proxy.spans("model.safetensors") == [f"bytes={there_bytes}-"]


def test_of_two_at_once_one_fetches_and_the_other_waits(store: Store) -> None:
    store.proxy.holds["model.safetensors"] = HELD_BYTES
    first = store.fetch()
    part_arrived(store.directory, "model.safetensors", 1)
    second = store.fetch()
    second.says("waiting")
    store.proxy.released.set()
    assert (first.ends(), second.ends()) == (0, 0)
    assert store.content() == MODEL
    assert store.proxy.spans("model.safetensors") == ["bytes=0-"]


@pytest.mark.parametrize("parts", [1, 2], ids=["in one piece", "in parts"])
def test_a_file_that_arrives_damaged_is_refused_and_fetched_anew(store: Store, parts: int) -> None:
    weights = Random(parts).randbytes(PART_BYTES * parts - 1000)
    if parts == 1:
        store.server.put(WEIGHTS_PATH, weights)
    else:
        store.server.put_in_parts(WEIGHTS_PATH, [weights[:PART_BYTES], weights[PART_BYTES:]])
    store.proxy.damages.add("model.safetensors")
    line = store.fetch().fails()
    assert line.startswith(f"{URI}: model.safetensors: its md5")
    assert "not what was announced; start again" in line
    assert parts_of(store.directory, "model.safetensors") == []
    store.proxy.damages.clear()
    fetch = store.fetch()
    assert fetch.ends() == 0, fetch.said()
    assert store.content()["model.safetensors"] == weights


def test_a_sha256_that_the_bucket_keeps_is_checked(store: Store) -> None:
    sha256 = base64.b64encode(hashlib.sha256(WEIGHTS).digest()).decode()
    store.server.put(WEIGHTS_PATH, WEIGHTS, x_amz_checksum_sha256=sha256, x_amz_sdk_checksum_algorithm="SHA256")
    store.proxy.damages.add("model.safetensors")
    assert "not what was announced" in store.fetch().fails()


def test_a_file_that_is_replaced_meanwhile_is_not_mixed_with_the_new_one(store: Store) -> None:
    store.proxy.cuts["model.safetensors"] = [1 << 20]
    store.proxy.holds["model.safetensors"] = 1 << 18
    fetch = store.fetch()
    part_arrived(store.directory, "model.safetensors", 1)
    store.server.put(WEIGHTS_PATH, WEIGHTS[::-1])
    store.proxy.holds.clear()
    store.proxy.released.set()
    assert "replaced while it was fetched; start again" in fetch.fails()
    assert store.fetch().ends() == 0
    assert store.content()["model.safetensors"] == WEIGHTS[::-1]


def test_wrong_keys_name_the_secret_and_show_nothing_of_it(store: Store) -> None:
    store.server.check_keys(after_requests="0")
    try:
        fetch = store.fetch()
        line = fetch.fails()
    finally:
        store.server.check_keys(after_requests="inf")
    assert line.startswith(f"{URI}: the bucket refuses the keys (HTTP 403")
    assert "secretRef" in line
    assert "the-secret" not in fetch.said()
    assert "AKIAEXAMPLE" not in fetch.said()


def test_what_cannot_be_fetched_is_one_line_with_the_remedy(store: Store) -> None:
    assert "no bucket absent (NoSuchBucket); check the name" in store.fetch("s3://absent/tiny").fails()
    assert "no config.json there" in store.fetch("s3://models/acme").fails()
    assert "not of the form s3://bucket/prefix" in store.fetch("s3://models").fails()
    assert "the bucket cannot be reached" in store.fetch(AWS_ENDPOINT_URL="http://127.0.0.1:1").fails()
    line = store.fetch(AWS_PROFILE="nobody").fails()
    assert "the settings cannot be used (ProfileNotFound)" in line


def test_without_the_library_the_line_says_how_to_get_it(store: Store, tmp_path: Path) -> None:
    (tmp_path / "boto3.py").write_text("raise ModuleNotFoundError('boto3')\n")
    line = store.fetch(before=(tmp_path,)).fails()
    assert line == f"{URI}: boto3 is not installed; run `pip install outrider-serving[s3]`"
