"""Which cluster the tests run on: CLUSTER and KUBECONFIG of the environment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from cluster.assets import get_assets
from cluster.control_plane import Cluster, ControlPlane, GivenCluster


def without_cluster() -> bool:
    """CLUSTER=none: what needs one is not to be run."""
    return os.environ.get("CLUSTER") == "none"


def given_kubeconfig() -> Path | None:
    """KUBECONFIG, where no KUBEBUILDER_ASSETS are given."""
    kubeconfig = os.environ.get("KUBECONFIG")
    return Path(kubeconfig) if kubeconfig and "KUBEBUILDER_ASSETS" not in os.environ else None


@contextlib.contextmanager
def chosen_cluster() -> Iterator[Cluster]:
    """The one that is given, else one of our own. Raises NoCluster."""
    given = given_kubeconfig()
    if given is not None:
        yield GivenCluster(given)
        return
    with ControlPlane(get_assets()) as running:
        yield running
