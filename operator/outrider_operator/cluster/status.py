"""`outrider status NAME`: how a model in a cluster is, and why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from outrider_operator.kube.client import Kube
from outrider_operator.kube.errors import KubeError
from outrider_operator.kube.kinds import SPECULATIVE_MODEL
from outrider_operator.kube.login import NoCluster, client, configuration, current_namespace
from outrider_operator.resources.pod import Object
from outrider_operator.terminal import INVALID, console, fail

COLOURS = {"True": "green", "False": "red", "Unknown": "yellow"}


def status(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the SpeculativeModel.")],
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Default: that of the KUBECONFIG's context.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="Context of the KUBECONFIG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Say how a model in a cluster is: whether it answers, and what keeps it from it.

    Exit code 0: it is Ready. 1: it is not. 2: there is no such model, or no cluster.
    """
    try:
        model = asyncio.run(_read(name, namespace, context))
    except (NoCluster, KubeError) as error:
        fail(str(error))
    if model is None:
        fail(f"no SpeculativeModel {name}; see `kubectl get smodel --all-namespaces`")
    said = model.get("status") or {}
    conditions = said.get("conditions") or []
    if as_json:
        typer.echo(json.dumps({"name": name, "namespace": model["metadata"]["namespace"], **said}, indent=2))
    else:
        console().print(_heading(model))
        console().print(table(conditions, datetime.now(UTC)))
    raise typer.Exit(0 if is_ready(model) else INVALID)


async def _read(name: str, namespace: str | None, context: str | None) -> Object | None:
    found = await configuration(context)
    async with client(found) as api:
        return await Kube(api).get(SPECULATIVE_MODEL, namespace or current_namespace(context), name)


def is_ready(model: Object) -> bool:
    """Whether the spec as it stands answers."""
    conditions = (model.get("status") or {}).get("conditions") or []
    ready: Any = next((each for each in conditions if each["type"] == "Ready"), None)
    generation = model["metadata"]["generation"]
    return ready is not None and ready["status"] == "True" and ready.get("observedGeneration") == generation


def _heading(model: Object) -> Text:
    said = model.get("status") or {}
    state = ("Ready", "green") if is_ready(model) else ("not ready", "red")
    return Text.assemble(f"{model['metadata']['name']}  ", state, f"  {said.get('url', '')}")


def table(conditions: Sequence[Object], now: datetime) -> Table:
    """A row a condition."""
    made = Table(box=None, pad_edge=False)
    for column in ("condition", "status", "since", "reason", "message"):
        made.add_column(column)
    for each in conditions:
        made.add_row(
            each["type"],
            Text(each["status"], COLOURS[each["status"]]),
            ago(each["lastTransitionTime"], now),
            each["reason"],
            each["message"],
        )
    return made


def ago(timestamp: str, now: datetime) -> str:
    """How long ago, as kubectl writes it: 42s, 5m, 3h, 12d."""
    seconds = max(0, int((now - datetime.fromisoformat(timestamp)).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
