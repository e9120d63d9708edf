"""What the cluster takes of this machine, and gives back: a network of its own with one wire to it, folders that it has
to itself, settings of the kernel, cgroups.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from cluster.addresses import HOST, NODE, PODS, SERVICES, WIRE_BITS
from cluster.errors import NoCluster
from cluster.node_assets import PATH

NETWORK = "outrider"
WIRE = "outrider0"
# Kubelet and CNI know these by name; in the cluster each is a folder of its own.
FOLDERS = (Path("/var/lib/kubelet"), Path("/var/lib/cni"), Path("/var/log"))
# Those that a kubelet sets.
SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
CGROUPS = Path("/sys/fs/cgroup")
# cgroups outlive their last process by a moment.
CGROUPS_S = 10


def wire() -> None:
    """A network namespace, reached over one wire. No other route leads into it, and none out. Raises NoCluster."""
    _do("ip", "netns", "add", NETWORK)
    _do("ip", "link", "add", WIRE, "type", "veth", "peer", "name", "eth0", "netns", NETWORK)
    _do("ip", "address", "add", f"{HOST}/{WIRE_BITS}", "dev", WIRE)
    _do("ip", "link", "set", WIRE, "up")
    _do("ip", "-n", NETWORK, "address", "add", f"{NODE}/{WIRE_BITS}", "dev", "eth0")
    _do("ip", "-n", NETWORK, "link", "set", "eth0", "up")
    _do("ip", "-n", NETWORK, "link", "set", "lo", "up")
    for addresses in (PODS, SERVICES):
        _do("ip", "route", "add", addresses, "via", NODE)


def is_wired() -> bool:
    return Path("/run/netns", NETWORK).exists()


def unwire() -> None:
    """The wire and its routes go with the namespace. Nothing where there is none."""
    if is_wired():
        _do("ip", "netns", "delete", NETWORK)


def alone(command: Sequence[str | Path]) -> list[str]:
    """The command, to run in that network with mounts and processes of its own; whatever it starts ends with it."""
    inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return ["nsenter", f"--net=/run/netns/{NETWORK}", *inside, *(str(part) for part in command)]


def furnish(folder: Path) -> None:
    """From inside: FOLDERS are folders in this one, and what is below /run is forgotten. Raises NoCluster."""
    for path in FOLDERS:
        own = folder / path.name
        own.mkdir()
        path.mkdir(parents=True, exist_ok=True)
        _do("mount", "--bind", str(own), str(path))
    _do("mount", "-t", "tmpfs", "tmpfs", "/run")
    # Of this network alone.
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")


def clear() -> None:
    """What is left of folders and cgroups when all processes have ended."""
    for path in FOLDERS[:2]:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    until = time.monotonic() + CGROUPS_S
    while [root for root in CGROUPS.glob("*/kubepods") if not _removed(root)] and time.monotonic() < until:
        time.sleep(0.2)


def _removed(root: Path) -> bool:
    """Whether the whole tree of cgroups could be removed, the deepest first."""
    try:
        for folder, _names, _files in os.walk(root, topdown=False):
            Path(folder).rmdir()
    except OSError:
        return False
    return True


def settings() -> dict[str, str]:
    """Those of SETTINGS that this kernel has."""
    paths = {name: Path("/proc/sys", name) for name in SETTINGS}
    return {name: path.read_text(encoding="ascii").strip() for name, path in paths.items() if path.is_file()}


def restore(before: dict[str, str]) -> None:
    for name, value in before.items():
        if settings().get(name) != value:
            Path("/proc/sys", name).write_text(value, encoding="ascii")


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": PATH})
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["no output"]
        raise NoCluster(f"{' '.join(command)} failed: {said[0]}; run as root, or set KUBECONFIG to another cluster")
