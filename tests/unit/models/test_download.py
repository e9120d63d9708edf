"""Files put together from what arrives, whatever breaks off and whoever else writes them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outrider_serving.models import download as module
from outrider_serving.models.digest import Digest, Kind
from outrider_serving.models.download import Interrupted, RemoteFile, download, is_model_file
from outrider_serving.models.fetch import FetchError

CONTENT = bytes(range(256)) * 40


class Silent:
    """Nobody looks at this progress."""

    def part(self, name: str, done_bytes: int, total_bytes: int) -> None:
        pass

    def note(self, line: str) -> None:
        pass


class Scripted:
    """A remote that breaks off after so many bytes of each read in turn, then never again."""

    def __init__(self, breaks: list[int]) -> None:
        self.breaks = breaks
        self.starts: list[int] = []

    def files(self) -> list[RemoteFile]:
        digest = Digest(Kind.SHA256, hashlib.sha256(CONTENT).hexdigest())
        return [RemoteFile("model.safetensors", "", len(CONTENT), "1", digest)]

    def read(self, file: RemoteFile, start_bytes: int) -> Iterator[bytes]:
        assert file in self.files()
        self.starts.append(start_bytes)
        rest = CONTENT[start_bytes:]
        if self.breaks:
            rest = rest[: self.breaks.pop(0)]
        for begin in range(0, len(rest), 1000):
            yield rest[begin : begin + 1000]
        if start_bytes + len(rest) < len(CONTENT):
            raise Interrupted("broken off")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.0)


@given(st.lists(st.integers(1, 3000), max_size=12))
def test_wherever_it_breaks_off_every_byte_is_asked_for_once(
    tmp_path_factory: pytest.TempPathFactory, breaks: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("model")
    remote = Scripted(list(breaks))
    download(remote, remote.files(), folder, Silent())
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    expected = [0]
    for count in breaks:
        if expected[-1] + count >= len(CONTENT):
            break
        expected.append(expected[-1] + count)
    assert remote.starts == expected


def test_a_source_that_brings_nothing_any_more_is_given_up(tmp_path: Path) -> None:
    remote = Scripted([1000] + [0] * module.ATTEMPTS)
    with pytest.raises(FetchError, match="broken off; check the network, then start again to go on"):
        download(remote, remote.files(), tmp_path, Silent())
    assert len(remote.starts) == module.ATTEMPTS
    remote = Scripted([])
    download(remote, remote.files(), tmp_path, Silent())
    assert remote.starts == [1000]


def test_who_is_told_to_stop_while_the_network_hangs_does_not_ask_again(tmp_path: Path) -> None:
    stop = threading.Event()

    class Hanging(Scripted):
        def read(self, file: RemoteFile, start_bytes: int) -> Iterator[bytes]:
            stop.set()  # Ctrl-C, while nothing comes
            return super().read(file, start_bytes)

    remote = Hanging([0] * module.ATTEMPTS)
    with pytest.raises(FetchError, match="stopped half-way; start again to go on"):
        module._download_file(remote, remote.files()[0], tmp_path, Silent(), stop)
    assert remote.starts == [0]


def test_two_on_a_volume_without_locks_do_each_other_no_harm(tmp_path: Path) -> None:
    both_are_half_way = threading.Barrier(2, timeout=60)

    class Meeting(Scripted):
        def read(self, file: RemoteFile, start_bytes: int) -> Iterator[bytes]:
            for number, chunk in enumerate(super().read(file, start_bytes)):
                yield chunk
                if number == 3:
                    both_are_half_way.wait()

    failures: list[BaseException] = []

    def run() -> None:
        try:
            remote = Meeting([])
            download(remote, remote.files(), tmp_path, Silent())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"model.safetensors": CONTENT}


def test_a_file_is_known_by_what_its_source_says_of_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    parts = [CONTENT[begin : begin + 3000] for begin in range(0, len(CONTENT), 3000)]
    of_parts = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    digests = [
        Digest(Kind.SHA256, hashlib.sha256(CONTENT).hexdigest()),
        Digest(Kind.GIT, hashlib.sha1(b"blob 10240\0" + CONTENT).hexdigest()),
        Digest(Kind.MD5, hashlib.md5(CONTENT).hexdigest()),
        Digest(Kind.MD5_OF_PARTS, of_parts, 3000),
    ]
    assert all(digest.matches(file) for digest in digests)
    file.write_bytes(CONTENT[:-1] + b"x")
    assert not any(digest.matches(file) for digest in digests)


def test_a_model_is_what_lies_at_the_top_and_is_loaded() -> None:
    assert is_model_file("model-00001-of-00002.safetensors")
    assert is_model_file("model.safetensors.index.json")
    assert is_model_file("chat_template.jinja")
    assert not any(map(is_model_file, ["pytorch_model.bin", "README.md", "onnx/config.json", "../config.json"]))
