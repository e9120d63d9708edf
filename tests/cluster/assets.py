"""Where the binaries of a control plane come from: what the environment names, the cache, or a build from source.

Debian ships the source of Kubernetes and no server built from it. Built once, in about ten minutes on two cores, the
binaries stay in a cache outside the repository.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from cluster.apt import REMEDY, Apt, Steps, keep, require_apt
from cluster.errors import NoCluster
from cluster.kubernetes_source import PACKAGES, VERSION, build_programs

ETCD = "etcd"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kubectl")
NODE_PROGRAMS = ("kube-scheduler", "kubelet", "kube-proxy")


@dataclass(frozen=True)
class Assets:
    """Paths of the binaries."""

    etcd: Path
    apiserver: Path
    controller_manager: Path
    kubectl: Path


def cache_root() -> Path:
    """Where whatever the test clusters need is kept."""
    return Path(platformdirs.user_cache_dir("outrider"))


def cache_folder() -> Path:
    return cache_root() / f"kubernetes-{VERSION}"


def find_assets() -> Assets | None:
    """What KUBEBUILDER_ASSETS names, else what was built before; None where there is neither. Raises NoCluster."""
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if not given:
        return _built()
    found = {name: _given(Path(given), name) for name in (ETCD, *PROGRAMS)}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise NoCluster(f"KUBEBUILDER_ASSETS: no {' and no '.join(missing)} in {given} or on the PATH; {REMEDY}")
    return Assets(*(path for path in found.values() if path is not None))


def _given(folder: Path, name: str) -> Path | None:
    """setup-envtest's folder has no controller manager; that of the PATH does as well."""
    if (folder / name).is_file():
        return folder / name
    on_path = shutil.which(name)
    return None if on_path is None else Path(on_path)


def _built() -> Assets | None:
    etcd, *programs = [cache_folder() / name for name in (ETCD, *PROGRAMS)]
    return Assets(etcd, *programs) if all(program.is_file() for program in (etcd, *programs)) else None


def get_assets() -> Assets:
    """Finds or builds them. Raises NoCluster, with how to get them otherwise."""
    return find_assets() or get_built_assets()


def get_built_assets(*more: str) -> Assets:
    """Those of the cache, with `more` programs of the same source beside them. Where one is missing, all that are
    missing are built: most of the time goes into what they share.

    Raises NoCluster.
    """
    missing = [name for name in (*PROGRAMS, *NODE_PROGRAMS) if not (cache_folder() / name).is_file()]
    if not {*PROGRAMS, *more}.isdisjoint(missing) or not (cache_folder() / ETCD).is_file():
        require_apt()
        build(missing)
    found = _built()
    assert found is not None
    return found


def build(programs: Sequence[str]) -> None:
    """Installs the packages, fetches the source, builds, and keeps etcd and the programs. Raises NoCluster."""
    with tempfile.TemporaryDirectory(prefix="outrider-kubernetes-") as folder:
        work = Path(folder)
        made = work / "bin"
        made.mkdir()
        steps = Steps(6)
        steps.begin("Debian's packages: Go, make, rsync")
        apt = Apt(work)
        apt("update")
        apt.install(*PACKAGES)
        steps.begin("etcd")
        keep([apt.unpack("etcd-server") / "usr" / "bin" / ETCD], cache_folder())
        if programs:
            build_programs(apt, work, made, programs, steps)
        steps.begin(f"kept in {cache_folder()}")
        keep([made / name for name in programs], cache_folder())
