"""Where prometheus and promtool come from: the PATH, the cache, or Debian's package."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from cluster.assets import Apt
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
            raise
    fetch()
    return find_binaries()


def fetch() -> None:
    """Unpacks the package into the cache; installed, it would start a server of its own. Raises NoPrometheus."""
    with tempfile.TemporaryDirectory(prefix="outrider-prometheus-") as folder:
        work = Path(folder)
        try:
            apt = Apt(work)
            apt("update")
            apt("download", "prometheus")
        except NoCluster as error:
            raise NoPrometheus(f"{str(error).partition(';')[0]}; put prometheus and promtool on the PATH") from None
        (package,) = work.glob("prometheus_*.deb")
        subprocess.run(["dpkg-deb", "--extract", str(package), str(work / "unpacked")], check=True)
        cache_folder().mkdir(parents=True, exist_ok=True)
        for name in PROGRAMS:
            # Moved into place: a copy that is cut leaves no half binary behind.
            partial = cache_folder() / f"{name}.partial"
            shutil.copy2(work / "unpacked" / "usr" / "bin" / name, partial)
            partial.replace(cache_folder() / name)


def _find(name: str) -> Path | None:
    on_path = shutil.which(name)
    if on_path is not None:
        return Path(on_path)
    cached = cache_folder() / name
    return cached if cached.is_file() else None
