"""Where prometheus and promtool come from: the PATH, the cache, or Debian's package."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from cluster.apt import Apt, keep
from cluster.errors import NoCluster

PROGRAMS = ("prometheus", "promtool")
REMEDY = "run `make prometheus`, which fetches both from Debian's package, or put them on the PATH"


class NoPrometheus(Exception):
    """One line, with what to do."""


@dataclass(frozen=True)
class Binaries:
    """Paths of the programs."""

    prometheus: Path
    promtool: Path


def cache_folder() -> Path:
    return Path(platformdirs.user_cache_dir("outrider")) / "prometheus"


def find_binaries() -> Binaries:
    """Raises NoPrometheus."""
    found = {name: _find(name) for name in PROGRAMS}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise NoPrometheus(f"there is no {' and no '.join(missing)}: {REMEDY}")
    return Binaries(*(path for path in found.values() if path is not None))


def get_binaries() -> Binaries:
    """Finds them, or fetches them. Raises NoPrometheus."""
    try:
        return find_binaries()
    except NoPrometheus:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise NoPrometheus("Debian's package takes apt and root: put prometheus and promtool on the PATH") from None
    fetch()
    return find_binaries()


def fetch() -> None:
    """Raises NoPrometheus."""
    with tempfile.TemporaryDirectory(prefix="outrider-prometheus-") as folder:
        try:
            apt = Apt(Path(folder))
            apt("update")
            programs = apt.unpack("prometheus") / "usr" / "bin"
        except NoCluster as error:
            raise NoPrometheus(f"{str(error).partition(';')[0]}; put prometheus and promtool on the PATH") from None
        keep([programs / name for name in PROGRAMS], cache_folder())


def _find(name: str) -> Path | None:
    on_path = shutil.which(name)
    if on_path is not None:
        return Path(on_path)
    cached = cache_folder() / name
    return cached if cached.is_file() else None
