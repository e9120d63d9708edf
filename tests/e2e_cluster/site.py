"""Where the scenario runs: the cluster with pods of this machine, or the one that KUBECONFIG names; and its images."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cluster import pod_cluster
from cluster.choice import given_kubeconfig
from cluster.images import image_archives
from cluster.tools import get_tool
from e2e_cluster.objects import FIRST_LAYERS, MODEL_S
from e2e_cluster.transcript import Transcript
from support.models import model_s_path

VERSION = version("outrider-operator")
SERVING = "outrider-serving"
DRAFT_LAYERS = 4


@dataclass(frozen=True)
class Site:
    """models: the folder with what is served. own: the cluster is one of our own, whose node has that folder and the
    images, and gives pods a UID that no image knows. registry: before the images' names where it is not.
    """

    kubeconfig: Path
    kubectl: Path
    helm: Path
    models: Path
    own: bool
    registry: str = ""

    def image(self, name: str) -> str:
        return "/".join(filter(None, [self.registry, f"{name}:{VERSION}"]))


@contextlib.contextmanager
def chosen_site(transcript: Transcript) -> Iterator[Site]:
    """One that runs, with its images. Raises NoCluster."""
    kubectl, helm = get_tool("kubectl"), get_tool("helm")
    given = given_kubeconfig()
    own = pod_cluster.running()
    if given is not None and (own is None or given != own.kubeconfig):
        transcript.say(f"the cluster of KUBECONFIG, {given}")
        yield Site(given, kubectl, helm, models_folder(), own=False, registry=os.environ.get("REGISTRY", ""))
        return
    transcript.say("images")
    archives = image_archives()
    transcript.say("a cluster of our own")
    with pod_cluster.for_this_session() as running:
        for archive in archives:
            transcript.say(f"to the node: {archive.name}, {archive.stat().st_size / 2**20:.0f} MiB")
            running.load(archive)
        yield Site(running.kubeconfig, kubectl, helm, models_folder(), own=True)


def models_folder() -> Path:
    """Model S and its first layers, in the cache beside the prepared models."""
    prepared = model_s_path()
    folder = prepared.parents[2] / "e2e-models"
    whole, first = folder / MODEL_S, folder / FIRST_LAYERS
    if not whole.is_dir():
        partial = folder / f".{MODEL_S}"
        shutil.rmtree(partial, ignore_errors=True)
        # The same files under another name.
        shutil.copytree(prepared, partial, copy_function=os.link)
        partial.rename(whole)
    if not first.is_dir():
        program = str(Path(sys.executable).with_name("outrider-models"))
        subprocess.run([program, "slice", str(prepared), str(first), f"--layers={DRAFT_LAYERS}"], check=True)
    return folder
