"""The base of the images in tests: a small Debian with Python, in place of the one that registries have."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from cluster.apt import Apt, require_apt, run
from cluster.errors import NoCluster
from cluster.images_buildah import Buildah

TOOLS = ("buildah", "mmdebstrap")
# torch's own libraries come along in its wheel, but for that of C++.
PACKAGES = ("python3", "python3-venv", "ca-certificates", "libstdc++6")
NOT_UNPACKED = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
CONTAINERFILE = """\
FROM scratch
ADD rootfs.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""


def base_name() -> str:
    """Of the base that is made here. Raises NoCluster where this is no Debian."""
    recipe = hashlib.sha256(repr((PACKAGES, NOT_UNPACKED, CONTAINERFILE)).encode()).hexdigest()[:8]
    return f"localhost/outrider-base:{_release()}-{recipe}"


def install_tools() -> None:
    """buildah and mmdebstrap, unless they are there. Raises NoCluster."""
    if all(shutil.which(tool) for tool in TOOLS):
        return
    require_apt()
    with tempfile.TemporaryDirectory(prefix="outrider-images-") as folder:
        apt = Apt(Path(folder))
        apt("update")
        apt.install(*TOOLS)


def ensure_base(buildah: Buildah) -> None:
    """Makes it, unless it is there. Raises NoCluster."""
    if buildah.has(base_name()):
        return
    with tempfile.TemporaryDirectory(prefix="outrider-base-") as folder:
        context = Path(folder)
        run(_mmdebstrap(context / "rootfs.tar"), context, {})
        _check_python(context / "rootfs.tar")
        containerfile = context / "Containerfile"
        containerfile.write_text(CONTAINERFILE, encoding="utf-8")
        buildah.build(base_name(), containerfile, context)


def _mmdebstrap(rootfs: Path) -> list[str]:
    """From the mirrors of this machine's Debian; without apt in it."""
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=essential",
        f"--include={','.join(PACKAGES)}",
        "--skip=output/dev,output/mknod",  # the runtime makes the devices
        '--aptopt=Acquire::Check-Valid-Until "false"',  # a mirror may be one of a certain day
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in NOT_UNPACKED),
        _release(),
        str(rootfs),
        *map(str, _sources()),
    ]


def _release() -> str:
    try:
        about = platform.freedesktop_os_release()
    except OSError:
        about = {}
    if about.get("ID") != "debian":
        raise NoCluster("the images are built here from Debian's packages; set KUBECONFIG to a cluster that has them")
    return about["VERSION_CODENAME"]


def _sources() -> list[Path]:
    """The files that list the release's own mirrors: those of others may be signed by keys that apt is not given."""
    there = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").iterdir())]
    suites = re.compile(rf"^(deb|Suites:)\s(.*\s)?{_release()}(\s|$)", re.MULTILINE)
    return [
        file
        for file in there
        if file.suffix in (".list", ".sources") and file.is_file() and suites.search(file.read_text(encoding="utf-8"))
    ]


def _check_python(rootfs: Path) -> None:
    """The wheels are got by this Python, for that one."""
    own = f"python3.{sys.version_info.minor}"
    with tarfile.open(rootfs) as archive:
        if f"./usr/bin/{own}" not in archive.getnames():
            raise NoCluster(f"the images' Python is not {own}; make clean, then make install PYTHON=/usr/bin/python3")
