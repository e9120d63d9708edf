"""Debian's packages: installed, or unpacked into a folder without being installed, and the sources that Debian has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from cluster.errors import NoCluster

REMEDY = (
    "set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver, "
    "KUBECONFIG to a cluster meant for tests, or CLUSTER=none"
)


class Steps:
    """A line for each step of something long."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0

    def begin(self, what: str) -> None:
        self._done += 1
        print(f"test cluster {self._done}/{self._total}: {what}", file=sys.stderr, flush=True)


class Apt:
    """apt-get over package lists of its own, which name the sources as well; the machine's lists stay as they are."""

    def __init__(self, work: Path) -> None:
        self._work = work
        listed, lists = work / "sources.list", work / "lists"
        listed.write_text(_with_sources(), encoding="utf-8")
        (lists / "partial").mkdir(parents=True)
        self._options = [
            f"-oDir::Etc::sourcelist={listed}",
            "-oDir::Etc::sourceparts=-",
            f"-oDir::State::lists={lists}",
        ]

    def __call__(self, *arguments: str) -> None:
        """Raises NoCluster."""
        run(["apt-get", "-qq", *self._options, *arguments], self._work, {"DEBIAN_FRONTEND": "noninteractive"})

    def install(self, *packages: str) -> None:
        """Raises NoCluster."""
        self("install", "--yes", "--no-install-recommends", *packages)

    def unpack(self, *packages: str) -> Path:
        """The folder that then holds what is in them. Unpacked, not installed: some would start a server of their own.

        Raises NoCluster.
        """
        into = self._work / "unpacked"
        self("download", *packages)
        for package in packages:
            (archive,) = self._work.glob(f"{package}_*.deb")
            run(["dpkg-deb", "--extract", str(archive), str(into)], self._work, {})
        return into


def require_apt() -> None:
    """Raises NoCluster where nothing can be installed."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoCluster(f"the test cluster is built from Debian's packages, which needs apt and root; else {REMEDY}")


def run(command: Sequence[str], folder: Path, env: dict[str, str]) -> None:
    """Raises NoCluster with the last line that a command that failed has printed."""
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        last = done.stdout.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
        raise NoCluster(f"{' '.join(command[:3])} failed: {last[0]}; {REMEDY}")


def keep(files: Iterable[Path], folder: Path) -> None:
    """Copies them there, each moved into its place: a build that is cut leaves no half binary behind."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        partial = folder / f"{file.name}.partial"
        shutil.copy2(file, partial)
        partial.replace(folder / file.name)


def _with_sources() -> str:
    """The mirrors of this machine's Debian, each with its sources."""
    lines = []
    for file in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*.list")):
        if file.is_file():
            lines += [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("deb ")]
    for file in Path("/etc/apt/sources.list.d").glob("*.sources"):
        lines += _deb822(file.read_text(encoding="utf-8"))
    return "".join(f"{line}\ndeb-src {line.removeprefix('deb ')}\n" for line in lines)


def _deb822(text: str) -> Iterable[str]:
    for stanza in text.split("\n\n"):
        fields = dict(line.split(":", 1) for line in stanza.splitlines() if ":" in line and not line.startswith("#"))
        values = {name.strip(): value.split() for name, value in fields.items()}
        signed = f"[signed-by={values['Signed-By'][0]}] " if "Signed-By" in values else ""
        for uri in values.get("URIs", []):
            for suite in values.get("Suites", []):
                yield f"deb {signed}{uri} {suite} {' '.join(values.get('Components', []))}"
