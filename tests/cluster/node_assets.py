"""What a node takes beside a control plane: the scheduler, kubelet and kube-proxy built from source, containerd, runc,
the CNI plugins and an init out of Debian's packages, and the programs that those call.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cluster.apt import Apt, keep, require_apt
from cluster.assets import NODE_PROGRAMS, Assets, cache_root, get_built_assets
from cluster.errors import NoCluster

# Unpacked: containerd's package would start a server. catatonit, which is static, is also what a pod's sandbox runs.
PACKAGES = ("containerd", "runc", "containernetworking-plugins", "catatonit")
BINARIES = ("containerd", "containerd-shim-runc-v2", "ctr", "runc", "catatonit")
CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")
# Installed: they start nothing, and need libraries. The command to the package.
CALLED = {
    "iptables": "iptables",
    "conntrack": "conntrack",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
}
# kube-proxy and the CNI plugins look for them there, and not every PATH has it.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class NodeAssets:
    """control_plane: of the same version. binaries: the folder of what is Debian's. cni: that of its plugins."""

    control_plane: Assets
    scheduler: Path
    kubelet: Path
    proxy: Path
    binaries: Path
    cni: Path


def get_node_assets() -> NodeAssets:
    """Finds, fetches or builds them. Raises NoCluster."""
    if sys.platform != "linux":
        raise NoCluster("the cluster with pods needs Linux; else set KUBECONFIG to a cluster meant for tests")
    control_plane = get_built_assets(*NODE_PROGRAMS)
    folder = cache_root() / "node"
    plugins = folder / "cni"
    wanted = [*(folder / name for name in BINARIES), *(plugins / name for name in CNI_PLUGINS)]
    absent = [package for command, package in CALLED.items() if shutil.which(command, path=PATH) is None]
    if absent or not all(file.is_file() for file in wanted):
        require_apt()
        _fetch(folder, plugins, absent)
    scheduler, kubelet, proxy = (control_plane.apiserver.with_name(name) for name in NODE_PROGRAMS)
    return NodeAssets(control_plane, scheduler, kubelet, proxy, folder, plugins)


def _fetch(folder: Path, plugins: Path, absent: list[str]) -> None:
    print("test cluster: containerd, runc and CNI plugins out of Debian's packages", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="outrider-node-") as temporary:
        apt = Apt(Path(temporary))
        apt("update")
        if absent:
            apt.install(*absent)
        root = apt.unpack(*PACKAGES)
        keep([_binary(root, name) for name in BINARIES], folder)
        keep([root / "usr" / "lib" / "cni" / name for name in CNI_PLUGINS], plugins)


def _binary(root: Path, name: str) -> Path:
    found = [root / "usr" / place / name for place in ("bin", "sbin", "libexec")]
    there = next((path for path in found if path.is_file()), None)
    if there is None:
        raise NoCluster(f"Debian's packages {', '.join(PACKAGES)} hold no {name}; set KUBECONFIG to another cluster")
    return there
