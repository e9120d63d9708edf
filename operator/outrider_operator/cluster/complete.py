"""Completes names of models in a shell, where a cluster answers at once."""

from __future__ import annotations

import asyncio
import logging
import os
import threading

import typer

from outrider_operator.cluster.connection import Place, connected
from outrider_operator.cluster.reader import Reader

DEADLINE_S = 1.0


def model_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The names that begin so. None where the cluster does not answer in time: a shell must not be held up."""
    import outrider_operator.kube.client  # noqa: F401  slow to load, which is not the cluster's fault

    found: list[str] = []
    # A daemon: it may wait for a name server, which nothing can interrupt.
    asking = threading.Thread(target=_ask, args=(dict(ctx.params), found), daemon=True)
    asking.start()
    asking.join(DEADLINE_S)
    if asking.is_alive():
        # An exit in good order would wait for it; there is nothing to print, and nothing was begun.
        os._exit(0)
    return sorted({name for name in found if name.startswith(incomplete)})


def _ask(flags: dict[str, object], found: list[str]) -> None:
    logging.disable()
    try:
        found += asyncio.run(_names(flags))
    except Exception:
        # Whatever it is: a message would be written into the line that is being typed.
        return


async def _names(flags: dict[str, object]) -> list[str]:
    names = ("namespace", "all_namespaces", "context", "kubeconfig")
    place = Place(**{name: flags[name] for name in names if flags.get(name) is not None})  # type: ignore[arg-type]
    async with connected(place) as connection:
        return [model["metadata"]["name"] for model in await Reader(connection).models()]
