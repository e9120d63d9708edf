"""`outrider status [NAME]`: how models in a cluster are, and why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live

from outrider_operator.cluster import status_view as view
from outrider_operator.cluster.complete import model_names
from outrider_operator.cluster.connection import (
    AllNamespacesFlag,
    ContextFlag,
    KubeconfigFlag,
    NamespaceFlag,
    Place,
    Unusable,
    connected,
    said,
)
from outrider_operator.cluster.observed import Observed, Replicas, is_ready
from outrider_operator.cluster.reader import Reader
from outrider_operator.kube.errors import KubeError
from outrider_operator.resources.pod import Object
from outrider_operator.terminal import console, fail, redraws, show, show_error

NOT_READY = 1
WATCH_S = 2.0


@dataclass(frozen=True)
class Page:
    """What is shown: one model, or the list of them."""

    one: Observed | None
    models: list[Object]
    replicas: dict[tuple[str, str, str], Replicas]
    namespace: str | None

    @property
    def ready(self) -> bool:
        return all(map(is_ready, self.models))

    def as_json(self) -> Object:
        if self.one is not None:
            return view.one_as_json(self.one)
        return {"models": [view.listed_as_json(model, self.replicas) for model in self.models]}

    def as_tables(self, now: datetime) -> Group:
        if self.one is not None:
            return Group(*view.one(self.one, now))
        if not self.models:
            return Group(f"no SpeculativeModels in {self._where()}")
        return Group(view.listed(self.models, self.replicas, self.namespace is None, now))

    def _where(self) -> str:
        return "any namespace" if self.namespace is None else f"namespace {self.namespace}"


def status(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Name of the SpeculativeModel. Default: the list of the namespace.",
            autocompletion=model_names,
            show_default=False,
        ),
    ] = None,
    namespace: NamespaceFlag = None,
    all_namespaces: AllNamespacesFlag = False,
    context: ContextFlag = None,
    kubeconfig: KubeconfigFlag = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again whenever it changes.")] = False,
) -> None:
    """Say how models in a cluster are: whether they answer, and what keeps them from it.

    \b
    Exit codes
      0  the model is Ready; of a list: all are
      1  it is not; of a list: one is not
      2  there is no such model, no cluster, or no right to look
    """
    place = Place(namespace, all_namespaces, context, kubeconfig)
    try:
        ready = asyncio.run(_status(place, name, as_json, watch))
    except Unusable as error:
        fail(str(error))
    raise typer.Exit(0 if ready else NOT_READY)


async def _status(place: Place, name: str | None, as_json: bool, watch: bool) -> bool:
    """Shows it, and whether all that was shown is ready. Raises Unusable."""
    place.check(name)
    async with connected(place) as connection:
        reader = Reader(connection)
        if watch:  # until a signal ends it
            live = redraws(console()) and not as_json
            await (_show_live(_pages(reader, name)) if live else _print_changes(_pages(reader, name), as_json))
        page = await _read(reader, name)
        _print(page, as_json)
        return page.ready


async def _read(reader: Reader, name: str | None) -> Page:
    if name is not None:
        observed = await reader.observed(name)
        return Page(observed, [observed.model], {}, reader.namespace)
    models = await reader.models()
    try:
        replicas = await reader.replicas()
    except KubeError as error:
        show_error(f"replicas: {said(error)}")
        replicas = {}
    return Page(None, models, replicas, reader.namespace)


async def _pages(reader: Reader, name: str | None) -> AsyncIterator[Page]:
    """The page again and again. What the API server cannot answer just now is told once, and asked again."""
    outage = ""
    while True:
        try:
            page = await _read(reader, name)
        except KubeError as error:
            if not error.passing:
                raise
            if said(error) != outage:
                outage = said(error)
                show_error(f"no answer, asking again: {outage}")
        else:
            outage = ""
            yield page
        await asyncio.sleep(WATCH_S)


def _print(page: Page, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(page.as_json(), indent=2, ensure_ascii=False))
    else:
        show(page.as_tables(datetime.now(UTC)))


async def _show_live(pages: AsyncIterator[Page]) -> None:
    with Live(console=console(), auto_refresh=False) as live:
        async for page in pages:
            live.update(page.as_tables(datetime.now(UTC)), refresh=True)


async def _print_changes(pages: AsyncIterator[Page], as_json: bool) -> None:
    """A JSON line, or the tables, each time that anything has changed but ages."""
    last: Object = {}
    async for page in pages:
        now = page.as_json()
        if now == last:
            continue
        if as_json:
            typer.echo(json.dumps(now, ensure_ascii=False))
        else:
            if last:
                typer.echo("")
            show(page.as_tables(datetime.now(UTC)))
        last = now
