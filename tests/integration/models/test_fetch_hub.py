"""A model fetched from a hub by the real command: whole or not at all, once, and on from where it stopped."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from random import Random

import pytest
from support.fetching import Fetch, part_arrived, parts_of
from support.hub import COMMIT, Hub, hub_server
from support.proxy import Proxy, serving

WEIGHTS = Random(0).randbytes(3_000_000)
MODEL = {"config.json": b"{}", "model.safetensors": WEIGHTS}
OTHERS = {"README.md": b"#", "pytorch_model.bin": b"pickle", "onnx/model.safetensors": b"other"}
URI = "hf://acme/tiny"
MARK = "outrider.json"
HELD_BYTES = 1_200_000


@pytest.fixture
def hub() -> Hub:
    return Hub("acme/tiny", {**MODEL, **OTHERS})


@pytest.fixture
def proxy(hub: Hub) -> Iterator[Proxy]:
    with hub_server(hub) as proxy:
        yield proxy


class Place:
    """Where the command is run, and which folder it is to make."""

    def __init__(self, folder: Path, proxy: Proxy) -> None:
        self.directory = folder / "cache" / "tiny"
        self._logs = folder / "logs"
        self._endpoint = proxy.url
        self._started: list[Fetch] = []

    def fetch(self, *flags: str, uri: str = URI, **environment: str) -> Fetch:
        settings = {"HF_ENDPOINT": self._endpoint, **environment}
        self._started.append(Fetch(self._logs, settings, uri, str(self.directory), *flags))
        return self._started[-1]

    def content(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.directory.iterdir() if path.name != MARK}

    def left_over(self) -> set[str]:
        return {path.name for path in self.directory.parent.iterdir()} - {"tiny", ".tiny.lock"}

    def end(self) -> None:
        for fetch in self._started:
            fetch.killed()


@pytest.fixture
def place(tmp_path: Path, proxy: Proxy) -> Iterator[Place]:
    place = Place(tmp_path, proxy)
    yield place
    place.end()


def test_a_model_is_whole_and_asked_for_once(place: Place, proxy: Proxy) -> None:
    first = place.fetch()
    assert first.ends() == 0, first.said()
    assert place.content() == MODEL
    assert place.left_over() == set()
    assert {event["file"] for event in first.events() if event["event"] == "file fetched"} == set(MODEL)
    proxy.asked.clear()
    assert place.fetch().ends() == 0
    assert proxy.asked == []


def test_the_token_goes_to_the_hub_and_nowhere_else(place: Place, hub: Hub, proxy: Proxy) -> None:
    hub.token = "hf_secret"
    fetch = place.fetch(HF_TOKEN="hf_secret\n")
    assert fetch.ends() == 0, fetch.said()
    stored = [asked for asked in proxy.asked if asked.path.startswith("/store/")]
    assert [asked.authorization for asked in stored] == [None]
    of_the_model = [asked for asked in proxy.asked if "/acme/tiny" in asked.path]
    assert {asked.authorization for asked in of_the_model} == {"Bearer hf_secret"}
    assert "hf_secret" not in fetch.said()
    assert "proof-of-the-hub" not in fetch.said()


def test_a_cut_connection_is_taken_up_where_it_broke_off(place: Place, proxy: Proxy) -> None:
    proxy.cuts["model.safetensors"] = [1_000_000, 500_000]
    fetch = place.fetch()
    assert fetch.ends() == 0, fetch.said()
    assert place.content() == MODEL
    stored = [asked.span for asked in proxy.asked if asked.path.startswith("/store/")]
    assert stored == ["bytes=0-", "bytes=1000000-", "bytes=1500000-"]


def test_a_killed_run_is_taken_up_by_the_next(place: Place, proxy: Proxy) -> None:
    proxy.holds["model.safetensors"] = HELD_BYTES
    killed = place.fetch()
    there_bytes = part_arrived(place.directory, "model.safetensors", HELD_BYTES - 65_536)
    killed.says("config.json")
    killed.killed()
    assert not place.directory.exists()
    proxy.holds.clear()
    proxy.asked.clear()
    assert place.fetch().ends() == 0
    assert place.content() == MODEL
    assert set(proxy.spans("model.safetensors")) == {f"bytes={there_bytes}-"}
    assert proxy.spans("config.json") == []


def test_of_two_at_once_one_fetches_and_the_other_waits(place: Place, proxy: Proxy) -> None:
    proxy.holds["model.safetensors"] = HELD_BYTES
    first = place.fetch()
    part_arrived(place.directory, "model.safetensors", 1)
    second = place.fetch()
    second.says("waiting")
    proxy.released.set()
    assert (first.ends(), second.ends()) == (0, 0)
    assert place.content() == MODEL
    assert [asked.path for asked in proxy.asked if asked.path.startswith("/store/")] == ["/store/model.safetensors"]


def test_who_waits_goes_on_when_the_other_is_killed(place: Place, proxy: Proxy) -> None:
    proxy.holds["model.safetensors"] = HELD_BYTES
    first = place.fetch()
    there_bytes = part_arrived(place.directory, "model.safetensors", HELD_BYTES - 65_536)
    second = place.fetch()
    second.says("waiting")
    proxy.holds.clear()
    first.killed()
    assert second.ends() == 0, second.said()
    assert place.content() == MODEL
    stored = [asked.span for asked in proxy.asked if asked.path.startswith("/store/")]
    assert stored == ["bytes=0-", f"bytes={there_bytes}-"]


def test_a_pod_that_is_deleted_stops_fetching_at_once(place: Place, proxy: Proxy) -> None:
    proxy.holds["model.safetensors"] = HELD_BYTES
    fetch = place.fetch()
    part_arrived(place.directory, "model.safetensors", 1)
    fetch.process.send_signal(signal.SIGTERM)
    assert fetch.ends() == 128 + signal.SIGTERM


def test_what_was_fetched_of_a_file_that_is_now_another_is_not_gone_on_with(
    place: Place, hub: Hub, proxy: Proxy
) -> None:
    proxy.holds["model.safetensors"] = HELD_BYTES
    killed = place.fetch()
    part_arrived(place.directory, "model.safetensors", HELD_BYTES - 65_536)
    killed.killed()
    hub.files["model.safetensors"] = WEIGHTS[::-1]
    proxy.holds.clear()
    assert place.fetch().ends() == 0
    assert place.content()["model.safetensors"] == WEIGHTS[::-1]
    assert place.left_over() == set()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_arrives_damaged_is_refused_and_fetched_anew(place: Place, proxy: Proxy, name: str) -> None:
    proxy.damages.add(name)
    line = place.fetch().fails()
    assert line.startswith(f"{URI}: {name}: ")
    assert "not what was announced; start again" in line
    assert not place.directory.exists()
    assert parts_of(place.directory, name) == []
    proxy.damages.clear()
    assert place.fetch().ends() == 0
    assert place.content() == MODEL


def test_a_revision_is_fetched_by_its_commit(place: Place, hub: Hub, proxy: Proxy) -> None:
    hub.revisions = ("refs/pr/1",)
    fetch = place.fetch("--revision=refs/pr/1")
    assert fetch.ends() == 0, fetch.said()
    assert [asked.path for asked in proxy.asked if "resolve" in asked.path and "config" in asked.path] == [
        f"/acme/tiny/resolve/{COMMIT}/config.json"
    ]
    assert "holds something else" in place.fetch().fails()


def test_a_wrong_token_names_the_secret_and_shows_nothing_of_it(place: Place, hub: Hub) -> None:
    hub.token = "hf_right"
    fetch = place.fetch(HF_TOKEN="hf_wrong")
    line = fetch.fails()
    assert line.startswith(f"{URI}: the hub refuses the token (HTTP 401); check HF_TOKEN")
    assert "secretRef" in line
    assert "hf_wrong" not in fetch.said()
    assert "private; check the name, or give a token" in place.fetch().fails()


def test_what_cannot_be_fetched_is_one_line_with_the_remedy(place: Place, hub: Hub, tmp_path: Path) -> None:
    assert "no revision v9; check model.revision" in place.fetch("--revision=v9").fails()
    assert "not on the hub, or private" in place.fetch(uri="hf://acme/absent").fails()
    assert "the hub cannot be reached" in place.fetch(HF_ENDPOINT="http://127.0.0.1:1").fails()
    assert "HF_HUB_OFFLINE is set" in place.fetch(HF_HUB_OFFLINE="1").fails()
    assert "write hf://org/name or s3://" in place.fetch(uri="pvc://claim/model").fails()
    assert "not of the form hf://org/name" in place.fetch(uri="hf://tiny").fails()
    hub.sizes["model.safetensors"] = 10**18
    assert "no space: 1000000000.0 GB are to come" in (line := place.fetch().fails())
    assert "spec.storage.size" in line
    del hub.files["config.json"]
    assert "no config.json there" in place.fetch().fails()
    place.directory.parent.joinpath("tiny").mkdir()
    (place.directory / "mine").touch()
    assert "holds something else" in place.fetch().fails()
    place.directory = tmp_path / "logs" / "0.log" / "tiny"
    assert "name a folder that can be written" in place.fetch().fails()


def test_a_mirror_is_looked_up_before_the_hub(place: Place, proxy: Proxy, tmp_path: Path) -> None:
    assert place.fetch(OUTRIDER_MODEL_MIRROR=str(mirror_folder(tmp_path))).ends() == 0
    assert place.content() == MODEL
    assert proxy.asked == []


def mirror_folder(tmp_path: Path) -> Path:
    """A mirror that holds the model and nothing else."""
    folder = tmp_path / "mirror" / "acme" / "tiny"
    folder.mkdir(parents=True)
    for name, content in MODEL.items():
        (folder / name).write_bytes(content)
    return tmp_path / "mirror"


def test_a_mirror_at_a_url_is_looked_up_before_the_hub(place: Place, proxy: Proxy, tmp_path: Path) -> None:
    with serving(partial(SimpleHTTPRequestHandler, directory=str(mirror_folder(tmp_path)))) as port:
        fetch = place.fetch(OUTRIDER_MODEL_MIRROR=f"http://127.0.0.1:{port}/")
        assert fetch.ends() == 0, fetch.said()
        assert place.content() == MODEL
        assert proxy.asked == []


@pytest.mark.usefixtures("proxy")
def test_what_a_mirror_lacks_comes_from_the_hub(place: Place, tmp_path: Path) -> None:
    assert place.fetch(OUTRIDER_MODEL_MIRROR=str(tmp_path / "nothing")).ends() == 0
    assert place.content() == MODEL
