"""`make cluster`: the binaries of the test cluster, found or built. `python -m cluster up`: one to try things on."""

from __future__ import annotations

import dataclasses
import signal
import sys

import typer

from cluster.assets import get_assets
from cluster.control_plane import ControlPlane
from cluster.errors import NoCluster

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def get() -> None:
    """Find the binaries, or build them once, in about ten minutes."""
    for path in dataclasses.astuple(get_assets()):
        typer.echo(path)


@app.command()
def up() -> None:
    """Run a control plane until Ctrl-C, and say how to use it."""
    with ControlPlane(get_assets()) as running:
        typer.echo(f"export KUBECONFIG={running.kubeconfig}  # kubectl: {running.kubectl}")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


def main() -> None:
    try:
        app()
    except NoCluster as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM} if "up" in sys.argv else set())
    main()
