"""The test clusters: `get` finds or builds the binaries of a control plane, `up` runs one to try things on; `start` and
`stop` are of the cluster with pods.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from pathlib import Path

import typer

from cluster import pod_cluster
from cluster.assets import get_assets
from cluster.control_plane import ControlPlane
from cluster.errors import NoCluster
from cluster.tools import get_tool

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def get() -> None:
    """Find the binaries of a control plane, or build them once, in about ten minutes."""
    for path in dataclasses.astuple(get_assets()):
        typer.echo(path)


@app.command()
def up() -> None:
    """Run a control plane until Ctrl-C, and say how to use it."""
    with ControlPlane(get_assets()) as running:
        typer.echo(f"export KUBECONFIG={running.kubeconfig}  # kubectl: {running.kubectl}")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


@app.command()
def start() -> None:
    """Run the cluster with pods in the background, and say how to use it."""
    tools = [get_tool("kubectl"), get_tool("helm")]
    running = pod_cluster.running() or pod_cluster.start()
    typer.echo(f"export KUBECONFIG={running.kubeconfig}")
    for tool in tools:
        if str(tool.parent) not in os.environ["PATH"].split(os.pathsep):
            typer.echo(f"alias {tool.name}={tool}")


@app.command()
def stop() -> None:
    """End the cluster with pods, and leave nothing of it."""
    pod_cluster.stop()


@app.command()
def load(archives: list[Path]) -> None:
    """Bring images, each in an archive of docker's form or OCI's, to the node of the cluster with pods."""
    running = pod_cluster.running()
    if running is None:
        raise NoCluster("no cluster with pods runs here; start one by `make cluster-up`")
    for archive in archives:
        running.load(archive)


def main() -> None:
    try:
        app()
    except NoCluster as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM} if "up" in sys.argv else set())
    main()
