"""Where prepared models lie: a folder outside the repository, laid out as org/name, which is a mirror."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from platformdirs import user_cache_dir

from outrider_serving.models.catalogue import PackagedModel

# Raised when what conversion writes changes, so that models prepared by an older release are made anew.
FORMAT = 1
MARK = "outrider.json"
# A model on a hub and in a mirror.
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def cache_root(override: Path | None = None) -> Path:
    """The cache folder: `override`, else OUTRIDER_CACHE, else the user's own cache folder.

    Raises ValueError, in one line, for a user who has none, as one that a container's /etc/passwd does not know.
    """
    named = override or os.environ.get("OUTRIDER_CACHE")
    if named:
        return expanded(named).absolute()
    try:
        return Path(user_cache_dir("outrider"))
    except RuntimeError:
        raise ValueError("no home folder to keep a cache in; name one by OUTRIDER_CACHE, or set HOME") from None


def expanded(path: str | Path) -> Path:
    """The path with the home folder for its `~`, which stays for a user who has none."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 Path's own raises a RuntimeError there


def mirror_folder(root: Path) -> Path:
    """The folder to give as OUTRIDER_MODEL_MIRROR."""
    return root / "models"


def write_mark(folder: Path, model: PackagedModel) -> None:
    """Says in the model's folder what it was made from and by which format."""
    content = {"format": FORMAT, "gguf_sha256": model.gguf_sha256, "licence": model.licence}
    (folder / MARK).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def is_prepared(folder: Path, model: PackagedModel) -> bool:
    """Whether the folder holds this very model; folders appear by rename, so what has a mark is whole."""
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(mark.get("format") == FORMAT and mark.get("gguf_sha256") == model.gguf_sha256)


def size_bytes(folder: Path) -> int:
    """Bytes of all files under the folder; files and folders that vanish meanwhile count as nothing."""
    total = 0
    for parent, _, names in os.walk(folder):  # rglob would stumble over a folder that is gone
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(parent, name).stat().st_size
    return total


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Holds the cache: a second `prepare` waits here instead of fetching the same parts."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
