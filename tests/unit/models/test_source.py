"""A model's folder on volumes that hold no locks, and what is made of errors there."""

from __future__ import annotations

import errno
import fcntl
import json
import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from outrider_serving.models import lock, source
from outrider_serving.models.cache import MARK
from outrider_serving.models.fetch import FetchError
from outrider_serving.models.progress import Progress

URI = "hf://acme/tiny"


class Silent:
    """Nobody looks at this progress."""

    def part(self, name: str, done_bytes: int, total_bytes: int) -> None:
        pass

    def note(self, line: str) -> None:
        pass


class Volume:
    """A folder with a mirror of one model, and the place that it is fetched to."""

    def __init__(self, folder: Path) -> None:
        self.mirror = folder / "mirror"
        self.model = self.mirror / "acme" / "tiny"
        self.model.mkdir(parents=True)
        (self.model / "config.json").write_text("{}")
        (self.model / "model.safetensors").write_bytes(b"weights")
        self.directory = folder / "cache" / "tiny"
        self.notes: list[str] = []

    def fetch(self) -> None:
        source.fetch(URI, self.directory, None, str(self.mirror), self.open_progress, self.note)

    def note(self, line: str) -> None:
        self.notes.append(line)

    def open_progress(self, _title: str, _total_bytes: int) -> AbstractContextManager[Progress]:
        return nullcontext(Silent())

    def appears(self) -> None:
        """What another does that was faster."""
        shutil.copytree(self.model, self.directory)
        (self.directory / MARK).write_text(json.dumps({"uri": URI, "revision": None}))


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


def refuse_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(_file: object, _operation: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_volume_without_locks_is_no_obstacle(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, errno.ENOLCK)
    volume.fetch()
    assert (volume.directory / "model.safetensors").read_bytes() == b"weights"
    assert volume.notes == [f"{URI}: ready in {volume.directory}"]


def test_who_was_faster_there_is_taken_and_nothing_is_left_lying(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_locks(monkeypatch, errno.ENOLCK)

    def overtaken(_title: str, _total_bytes: int) -> AbstractContextManager[Progress]:
        volume.appears()
        return nullcontext(Silent())

    monkeypatch.setattr(volume, "open_progress", overtaken)
    volume.fetch()
    assert {path.name for path in volume.directory.parent.iterdir()} == {"tiny", ".tiny.lock"}


def test_who_waits_says_so_once_and_then_finds_the_model(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "POLL_S", 0.01)
    volume.directory.parent.mkdir()
    with (volume.directory.parent / ".tiny.lock").open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)

        def the_other_ends(line: str) -> None:
            volume.notes.append(line)
            if "waiting" in line:
                volume.appears()
                fcntl.flock(holder, fcntl.LOCK_UN)

        monkeypatch.setattr(volume, "note", the_other_ends)
        volume.fetch()
    assert volume.notes == [f"{URI}: waiting for who fetches it", f"{URI}: ready in {volume.directory}"]


def test_the_root_is_no_folder_to_make(volume: Volume) -> None:
    volume.directory = Path("/")
    with pytest.raises(FetchError, match=f"^{URI}: /: that is there already; name a folder to make in it$"):
        volume.fetch()


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "no space is left; raise spec.storage.size, or free some"),
        (errno.EDQUOT, "no space is left; raise spec.storage.size, or free some"),
        (errno.EROFS, "name a folder that can be written"),
    ],
)
def test_a_volume_that_takes_no_more_is_one_line(
    volume: Volume, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(source, "download", refuse)
    with pytest.raises(FetchError, match=f"^{URI}: {volume.directory}: [^\n]*{says}$"):
        volume.fetch()
