"""The cluster with pods, from inside its own network: runs until it is ended, or until one of its programs has.

usage: python -m cluster.inside FOLDER
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from cluster.addresses import NODE
from cluster.control_plane import ControlPlane
from cluster.errors import NoCluster
from cluster.machine import furnish
from cluster.node import APISERVER_FLAGS, USERS, Node
from cluster.node_assets import get_node_assets

FOLLOWS_EVERY_S = 0.5


def kubeconfig_path(folder: Path) -> Path:
    """There as soon as pods can run: the administrator's."""
    return folder / "kubeconfig"


def run(folder: Path) -> None:
    """Raises NoCluster."""
    furnish(folder)
    assets = get_node_assets()
    own = folder / "control-plane"
    own.mkdir()
    with ControlPlane(assets.control_plane, NODE, own, USERS, APISERVER_FLAGS) as plane:
        node = Node(plane, assets, folder)
        node.start()
        ready = folder / "kubeconfig.partial"
        ready.touch(mode=0o600)
        ready.write_bytes(plane.kubeconfig.read_bytes())
        ready.rename(kubeconfig_path(folder))
        while (ended := plane.programs.ended()) is None:
            time.sleep(FOLLOWS_EVERY_S)
            node.follow()
    raise NoCluster(ended)


def main() -> None:
    try:
        run(Path(sys.argv[1]))
    except NoCluster as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
