"""containerd as the node runs it, and the images that are brought to it: nothing is pulled here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from cluster.addresses import NODE_PODS
from cluster.errors import NoCluster
from cluster.node_assets import PATH, NodeAssets
from cluster.pause_image import NAME as PAUSE
from cluster.pause_image import write_pause_image
from cluster.programs import Programs

PROGRAM = "containerd"
# Of an image with torch, on a busy disk.
IMPORT_S = 900
NETWORK = {
    "cniVersion": "0.4.0",
    "name": "outrider",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            # A pod reaches itself by its Service.
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": NODE_PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


def socket_path(folder: Path) -> Path:
    """In the cluster's folder, so that images can be imported from outside."""
    return folder / "containerd.sock"


def start_containerd(programs: Programs, assets: NodeAssets, folder: Path) -> None:
    """Runs it, and gives it the sandbox's image. Raises NoCluster."""
    networks = folder / "net.d"
    networks.mkdir()
    (networks / "10-outrider.conflist").write_text(json.dumps(NETWORK), encoding="utf-8")
    settings = folder / "containerd.toml"
    settings.write_text(_settings(assets, folder, networks), encoding="utf-8")
    path = f"{assets.binaries}:{PATH}"
    programs.start(PROGRAM, [assets.binaries / "containerd", f"--config={settings}"], env={"PATH": path})
    programs.wait(PROGRAM, lambda: _ctr(assets.binaries, folder, "version").returncode == 0)
    pause = folder / "pause.tar"
    write_pause_image(assets.binaries / "catatonit", pause)
    import_image(assets.binaries, folder, pause)


def import_image(binaries: Path, folder: Path, archive: Path) -> None:
    """Brings the images of an archive, docker's or OCI's, to the node. Raises NoCluster."""
    done = _ctr(binaries, folder, "images", "import", str(archive))
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["no output"]
        raise NoCluster(f"containerd does not import {archive}: {said[0]}")


def _ctr(binaries: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(binaries / "ctr"), f"--address={socket_path(folder)}", "--namespace=k8s.io", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=IMPORT_S)


def _settings(assets: NodeAssets, folder: Path, networks: Path) -> str:
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = "{folder}/containerd"
state = "/run/containerd"

[grpc]
address = "{socket_path(folder)}"

[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"

[{cri}]
sandbox_image = "{PAUSE}"
# Else pods fail where root may not lower the score, as in a container or a small virtual machine.
restrict_oom_score_adj = true

[{cri}.containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
BinaryName = "{assets.binaries}/runc"
SystemdCgroup = false

[{cri}.cni]
bin_dir = "{assets.cni}"
conf_dir = "{networks}"
"""
