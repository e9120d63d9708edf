"""Downloads a model's files into a folder. Broken off anywhere, even killed, the next run goes on where it stopped.

A file is fetched as NAME.part, checked, and put in place by rename. Nothing here holds a lock: two that run at once
on one folder ask for the same bytes twice and write them to the same places, which does no harm.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from outrider_serving.models.cache import size_bytes
from outrider_serving.models.digest import Digest
from outrider_serving.models.fetch import FetchError
from outrider_serving.models.progress import Progress

# What a model is loaded from, all of it in one folder; hubs hold the same weights in other formats beside it.
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja")
PARALLEL_FILES = 4
ATTEMPTS = 6  # in a row without a byte; one that brought bytes does not count
PAUSE_S = 0.5  # after the first of them, twice as long after each other


class Interrupted(ConnectionError):
    """The bytes of a file stopped coming. The message names no URL, because a hub signs some of them."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a model where it is fetched from."""

    name: str  # in the model's folder
    address: str  # what the remote reads it by
    size_bytes: int
    version: str  # another one with any other content
    digest: Digest | None = None  # None: the remote says nothing of the content


class Remote(Protocol):
    """Where a model's files come from."""

    def files(self) -> list[RemoteFile]:
        """The model's files. Raises FetchError."""

    def read(self, file: RemoteFile, start_bytes: int) -> Iterator[bytes]:
        """What the file holds from there on. Raises Interrupted, or FetchError where asking again is no use."""


def is_model_file(name: str) -> bool:
    """Whether a model is loaded from the file of that name; files below other folders are others' business."""
    return "/" not in name and any(fnmatch(name, pattern) for pattern in MODEL_FILES)


def download(remote: Remote, files: Sequence[RemoteFile], folder: Path, progress: Progress) -> None:
    """Fills `folder` with the files; what an earlier run has fetched of them is kept.

    Raises FetchError, and OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _need_space(folder, files)
    stop = threading.Event()
    pool = ThreadPoolExecutor(PARALLEL_FILES, thread_name_prefix="fetch")
    try:
        futures = [pool.submit(_download_file, remote, file, folder, progress, stop) for file in files]
        for future in as_completed(futures):
            future.result()
    finally:
        # On an error or Ctrl-C the other downloads end at once instead of running on unseen.
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _need_space(folder: Path, files: Sequence[RemoteFile]) -> None:
    needed_bytes = sum(file.size_bytes for file in files) - size_bytes(folder)
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        space = f"{needed_bytes / 1e9:.1f} GB are to come and {free_bytes / 1e9:.1f} GB are free"
        raise FetchError(f"no space: {space}; raise spec.storage.size, or free some")


def _download_file(remote: Remote, file: RemoteFile, folder: Path, progress: Progress, stop: threading.Event) -> None:
    target, part = folder / file.name, folder / f"{file.name}.part"
    failures = 0
    while not target.exists():
        before_bytes = part.stat().st_size if part.exists() else 0
        try:
            _append(remote, file, part, progress, stop)
            _check(file, part)
            part.rename(target)
        except FileNotFoundError:
            if not target.exists():  # else another has put it in place
                raise
        except Interrupted as error:
            failures = 1 if part.stat().st_size > before_bytes else failures + 1
            if failures == ATTEMPTS:
                raise FetchError(f"{file.name}: {error}; check the network, then start again to go on") from None
            if stop.wait(PAUSE_S * 2 ** (failures - 1)):
                raise _stopped(file) from None
    progress.part(file.name, file.size_bytes, file.size_bytes)


def _stopped(file: RemoteFile) -> FetchError:
    return FetchError(f"{file.name}: stopped half-way; start again to go on")


def _append(remote: Remote, file: RemoteFile, part: Path, progress: Progress, stop: threading.Event) -> None:
    """Asks for what `part` lacks and writes it behind what it has. Raises Interrupted when that is not all."""
    # Not opened to append: a place in the file, not its end, is what two that run at once agree on.
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT, 0o644), "wb") as sink:
        done_bytes = sink.seek(0, os.SEEK_END)
        if done_bytes < file.size_bytes:
            for chunk in remote.read(file, done_bytes):
                if stop.is_set():
                    raise _stopped(file)
                sink.write(chunk)
                done_bytes += len(chunk)
                # Only a checked file is whole.
                progress.part(file.name, min(done_bytes, file.size_bytes - 1), file.size_bytes)
        # A machine that loses its power must not leave a file that has its name and not its content.
        sink.flush()
        os.fsync(sink.fileno())
    if done_bytes < file.size_bytes:
        raise Interrupted("the connection was closed too early")


def _check(file: RemoteFile, part: Path) -> None:
    if part.stat().st_size != file.size_bytes:
        wrong = f"{part.stat().st_size} bytes arrived instead of {file.size_bytes}"
    elif file.digest is not None and not file.digest.matches(part):
        wrong = f"its {file.digest.kind} is not what was announced"
    else:
        return
    part.unlink()
    raise FetchError(f"{file.name}: {wrong}; start again to fetch it anew")
