"""Where the binaries of a control plane come from: what the environment names, the cache, or a build from source.

Debian ships the source of Kubernetes and no server built from it. Built once, in about ten minutes on two cores, the
binaries stay in a cache outside the repository.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from cluster.errors import NoCluster

VERSION = "1.20.2"
ETCD = "etcd"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kubectl")
PACKAGES = ("golang-go", "rsync", "make", "openssl", "dpkg-dev", "golang-github-modern-go-reflect2-dev")
KUBERNETES = "k8s.io/kubernetes"
REMEDY = (
    "set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver, "
    "KUBECONFIG to a cluster meant for tests, or CLUSTER=none"
)


@dataclass(frozen=True)
class Assets:
    """Paths of the binaries."""

    etcd: Path
    apiserver: Path
    controller_manager: Path
    kubectl: Path


def cache_folder() -> Path:
    return Path(platformdirs.user_cache_dir("outrider")) / f"kubernetes-{VERSION}"


def find_assets() -> Assets | None:
    """What KUBEBUILDER_ASSETS names, else what was built before; None where there is neither. Raises NoCluster."""
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if given:
        found = {name: _given(Path(given), name) for name in (ETCD, *PROGRAMS)}
        missing = [name for name, path in found.items() if path is None]
        if missing:
            raise NoCluster(f"KUBEBUILDER_ASSETS: no {' and no '.join(missing)} in {given} or on the PATH; {REMEDY}")
        return Assets(*(path for path in found.values() if path is not None))
    etcd, *built = [cache_folder() / name for name in (ETCD, *PROGRAMS)]
    return Assets(etcd, *built) if all(program.is_file() for program in (etcd, *built)) else None


def _given(folder: Path, name: str) -> Path | None:
    """setup-envtest's folder has no controller manager; that of the PATH does as well."""
    if (folder / name).is_file():
        return folder / name
    on_path = shutil.which(name)
    return None if on_path is None else Path(on_path)


def get_assets() -> Assets:
    """Finds or builds them. Raises NoCluster, with how to get them otherwise."""
    found = find_assets()
    if found is not None:
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoCluster(f"the test cluster is built from Debian's packages, which needs apt and root; else {REMEDY}")
    build()
    found = find_assets()
    assert found is not None
    return found


def build() -> None:
    """Installs the packages, fetches the source, builds, and keeps the binaries. Raises NoCluster."""
    with tempfile.TemporaryDirectory(prefix="outrider-kubernetes-") as folder:
        work = Path(folder)
        made = work / "bin"
        made.mkdir()
        steps = Steps(6)
        steps.begin("Debian's packages: Go, make, rsync")
        apt = Apt(work)
        apt("update")
        apt("install", "--yes", "--no-install-recommends", *PACKAGES)
        steps.begin("etcd")
        _unpack_etcd(apt, work, made)
        steps.begin("the source of Kubernetes")
        tree = _source(apt, work)
        _mend(tree)
        env = _go_environment(work)
        steps.begin("OpenAPI definitions")
        _run(["make", "gen_openapi"], tree, {**env, **_stamp()})
        steps.begin(f"{' and '.join(PROGRAMS)}, the longest step")
        packages = [f"./cmd/{name}" for name in PROGRAMS]
        _run(["go", "build", "-ldflags", _ldflags(), "-o", f"{made}/", *packages], tree, env)
        steps.begin(f"kept in {cache_folder()}")
        cache_folder().mkdir(parents=True, exist_ok=True)
        for name in (ETCD, *PROGRAMS):
            # Moved into place: a build that is cut leaves no half binary behind.
            partial = cache_folder() / f"{name}.partial"
            shutil.copy2(made / name, partial)
            partial.replace(cache_folder() / name)


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
        _run(["apt-get", "-qq", *self._options, *arguments], self._work, {"DEBIAN_FRONTEND": "noninteractive"})


def _unpack_etcd(apt: Apt, work: Path, into: Path) -> None:
    """Unpacked, not installed: the package would start a server of its own."""
    apt("download", "etcd-server")
    (package,) = work.glob("etcd-server_*.deb")
    _run(["dpkg-deb", "--extract", str(package), str(work / "etcd")], work, {})
    shutil.copy2(work / "etcd" / "usr" / "bin" / ETCD, into / ETCD)


def _source(apt: Apt, work: Path) -> Path:
    """The unpacked tree, where GOPATH mode looks for it."""
    apt("source", "--download-only", "kubernetes")
    (archive,) = work.glob("kubernetes_*.orig.tar.*")
    tree = work / "go" / "src" / KUBERNETES
    tree.mkdir(parents=True)
    _run(["tar", "--extract", "--strip-components=1", f"--file={archive}"], tree, {})
    return tree


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


def _mend(tree: Path) -> None:
    """Its own reflect2 1.0.1 is broken from Go 1.18 on: the apiserver would die at the first custom resource."""
    vendored = tree / "vendor/github.com/modern-go/reflect2"
    packaged = Path("/usr/share/gocode/src/github.com/modern-go/reflect2")
    for old in vendored.glob("*.go"):
        old.unlink()
    for new in [*packaged.glob("*.go"), *packaged.glob("*.s")]:
        if not new.name.endswith("_test.go"):
            shutil.copy2(new, vendored / new.name)


def _go_environment(work: Path) -> dict[str, str]:
    return {"GO111MODULE": "off", "CGO_ENABLED": "0", "GOPATH": str(work / "go"), "GOCACHE": str(work / "go-cache")}


def _stamp() -> dict[str, str]:
    major, minor, _ = VERSION.split(".")
    return {
        "KUBE_GIT_VERSION": f"v{VERSION}",
        "KUBE_GIT_COMMIT": "debian",
        "KUBE_GIT_TREE_STATE": "clean",
        "KUBE_GIT_MAJOR": major,
        "KUBE_GIT_MINOR": minor,
    }


def _ldflags() -> str:
    major, minor, _ = VERSION.split(".")
    values = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor, "gitCommit": "debian"}
    packages = [f"{KUBERNETES}/vendor/k8s.io/{name}/version" for name in ("component-base", "client-go/pkg")]
    stamped = [f"-X {package}.{name}={value}" for package in packages for name, value in values.items()]
    return " ".join(["-s", "-w", *stamped])


def _run(command: Sequence[str], folder: Path, env: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        last = done.stdout.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
        raise NoCluster(f"{' '.join(command[:3])} failed: {last[0]}; {REMEDY}")
