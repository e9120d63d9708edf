"""Kubernetes' programs out of Debian's source package: Debian ships the source, and of what is built from it kubectl
alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from cluster.apt import Apt, Steps, run

VERSION = "1.20.2"
PACKAGES = ("golang-go", "rsync", "make", "openssl", "dpkg-dev", "golang-github-modern-go-reflect2-dev")
KUBERNETES = "k8s.io/kubernetes"


def build_programs(apt: Apt, work: Path, made: Path, programs: Sequence[str], steps: Steps) -> None:
    """Builds them into `made`, in three steps. Raises NoCluster."""
    steps.begin("the source of Kubernetes")
    tree = _source(apt, work)
    _mend(tree)
    env = {"GO111MODULE": "off", "CGO_ENABLED": "0", "GOPATH": str(work / "go"), "GOCACHE": str(work / "go-cache")}
    steps.begin("OpenAPI definitions")
    run(["make", "gen_openapi"], tree, {**env, **_stamp()})
    steps.begin(f"{' and '.join(programs)}, the longest step")
    run(["go", "build", "-ldflags", _ldflags(), "-o", f"{made}/", *(f"./cmd/{name}" for name in programs)], tree, env)


def _source(apt: Apt, work: Path) -> Path:
    """The unpacked tree, where GOPATH mode looks for it."""
    apt("source", "--download-only", "kubernetes")
    (archive,) = work.glob("kubernetes_*.orig.tar.*")
    tree = work / "go" / "src" / KUBERNETES
    tree.mkdir(parents=True)
    run(["tar", "--extract", "--strip-components=1", f"--file={archive}"], tree, {})
    return tree


def _mend(tree: Path) -> None:
    """Its own reflect2 1.0.1 is broken from Go 1.18 on: the apiserver would die at the first custom resource."""
    vendored = tree / "vendor/github.com/modern-go/reflect2"
    packaged = Path("/usr/share/gocode/src/github.com/modern-go/reflect2")
    for old in vendored.glob("*.go"):
        old.unlink()
    for new in [*packaged.glob("*.go"), *packaged.glob("*.s")]:
        if not new.name.endswith("_test.go"):
            shutil.copy2(new, vendored / new.name)


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
