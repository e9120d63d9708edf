"""The cluster with pods, as whoever is outside has it: `make cluster-up` starts it, `make cluster-down` ends it, and
tests start one of their own where none runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster import containerd, machine
from cluster.assets import cache_root
from cluster.errors import NoCluster
from cluster.inside import kubeconfig_path
from cluster.node_assets import PATH, get_node_assets

TESTS = Path(__file__).parents[1]
START_S = 180
END_S = 30


def folder() -> Path:
    """Of the one that runs on this machine: all its files. There is one at a time, since it has fixed addresses."""
    return cache_root() / "cluster"


@dataclass(frozen=True)
class PodCluster:
    """One that runs. kubeconfig: the administrator's."""

    kubeconfig: Path
    binaries: Path

    def load(self, archive: Path) -> None:
        """Brings an image to the node. Raises NoCluster."""
        containerd.import_image(self.binaries, folder(), archive)


def running() -> PodCluster | None:
    """The one that runs here, if any. Raises NoCluster."""
    return _view() if _process() is not None and kubeconfig_path(folder()).exists() else None


def start() -> PodCluster:
    """Starts one in the background, and waits until it takes pods. Raises NoCluster."""
    if os.geteuid() != 0:
        raise NoCluster("the cluster with pods needs root; else set KUBECONFIG to a cluster meant for tests")
    assets = get_node_assets()
    stop()
    folder().mkdir(parents=True)
    (folder() / "settings.json").write_text(json.dumps(machine.settings()), encoding="utf-8")
    machine.wire()
    # An init that takes in the containers' orphans, as every node has one.
    command: list[str | Path] = [assets.binaries / "catatonit", "--", sys.executable, "-m", "cluster.inside", folder()]
    log = folder() / "cluster.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            machine.alone(command),
            cwd=TESTS,
            env={**os.environ, "PATH": f"{PATH}:{os.environ['PATH']}", "PYTHONPATH": str(TESTS)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    (folder() / "pid").write_text(str(process.pid), encoding="ascii")
    until = time.monotonic() + START_S
    while not kubeconfig_path(folder()).exists():
        if process.poll() is not None or time.monotonic() > until:
            said = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            _give_back()
            raise NoCluster(f"the cluster did not start: {said[0]}; its logs are in {folder()}")
        time.sleep(0.2)
    return _view()


def stop() -> None:
    """Ends it, and leaves nothing of it. Nothing where none runs. Raises NoCluster."""
    _give_back()
    shutil.rmtree(folder(), ignore_errors=True)


@contextlib.contextmanager
def for_this_session() -> Iterator[PodCluster]:
    """The one that runs, and stays; else one of our own, ended afterwards. Raises NoCluster."""
    found = running()
    if found is not None:
        yield found
        return
    started = start()
    try:
        yield started
    finally:
        stop()


def _view() -> PodCluster:
    return PodCluster(kubeconfig_path(folder()), get_node_assets().binaries)


def _give_back() -> None:
    """The machine is as it was before, but for the cluster's folder. Raises NoCluster."""
    _end_processes()
    machine.unwire()
    machine.clear()
    settings = folder() / "settings.json"
    if settings.is_file():
        machine.restore(json.loads(settings.read_text(encoding="utf-8")))


def _process() -> psutil.Process | None:
    """`unshare`, the parent of the cluster's init; None where it has ended."""
    try:
        process = psutil.Process(int((folder() / "pid").read_text(encoding="ascii")))
        # The number may be another process' by now.
        return process if str(folder()) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, psutil.Error):
        return None


def _end_processes() -> None:
    """With its init ends whatever it has started, containers included. Raises NoCluster."""
    process = _process()
    if process is None:
        return
    try:
        for each in process.children() or [process]:
            each.kill()
        process.wait(END_S)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        raise NoCluster(f"the cluster, process {process.pid}, does not end within {END_S} s; look at it") from None
