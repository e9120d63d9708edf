"""`outrider top [NAME]`: what the pods of models do just now."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live

from outrider_operator.cluster import top_view as view
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
from outrider_operator.cluster.observed import Pod, is_ready
from outrider_operator.cluster.reader import Reader, forbidden
from outrider_operator.kube.errors import KubeError
from outrider_operator.measure.figures import draft_figures, target_figures
from outrider_operator.measure.growth import Ends
from outrider_operator.measure.scrape import parse_scrape
from outrider_operator.measure.window import WINDOW_S, Window
from outrider_operator.resources.pod import Object
from outrider_operator.terminal import console, fail, redraws, show

NO_ANSWER = 1
# The API server fetches a page for each; more at once would be felt there.
SCRAPES_AT_ONCE = 16


def top(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Name of the SpeculativeModel. Default: all of the namespace.",
            autocompletion=model_names,
            show_default=False,
        ),
    ] = None,
    namespace: NamespaceFlag = None,
    all_namespaces: AllNamespacesFlag = False,
    context: ContextFlag = None,
    kubeconfig: KubeconfigFlag = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, metavar="SECONDS", help="Time between two readings.")
    ] = 2.0,
) -> None:
    """Show what each pod and each model does: requests, tokens, acceptance, latencies, memory.

    In a terminal it goes on until Ctrl-C, over the last 10 seconds each time; in a pipe, with TERM=dumb and with
    --json it reads twice and ends. The figures come from the pods by way of the API server, which takes the right to
    get pods/proxy.
    Of a draft they are its sequences, the tokens it forwards, and how often its tree had what the target chose.

    \b
    Exit codes
      0    figures were read, or there is no model
      1    no pod answered
      2    there is no such model, no cluster, or no right to look
      130  ended by Ctrl-C
    """
    place = Place(namespace, all_namespaces, context, kubeconfig)
    try:
        answered = asyncio.run(_top(place, name, as_json, interval))
    except Unusable as error:
        fail(str(error))
    raise typer.Exit(0 if answered else NO_ANSWER)


async def _top(place: Place, name: str | None, as_json: bool, interval_s: float) -> bool:
    """Shows it, and whether there was anything to show. Raises Unusable."""
    place.check(name)
    async with connected(place) as connection:
        reader = Reader(connection)
        sampler = Sampler(reader, name, max(WINDOW_S, interval_s))
        if redraws(console()) and not as_json:
            await _show_live(sampler, reader, interval_s)
        if await sampler.read():
            await asyncio.sleep(interval_s)
            await sampler.read()
    rows = sampler.rows()
    if as_json:
        typer.echo(json.dumps(view.as_json(rows, datetime.now(UTC).isoformat(timespec="seconds")), ensure_ascii=False))
    else:
        show(_page(rows, reader))
    return not rows or any(each.figures for row in rows for each in row.pods)


async def _show_live(sampler: Sampler, reader: Reader, interval_s: float) -> None:
    """Until a signal ends it. What the API server cannot answer just now is told, and asked again."""
    with Live(console=console(), auto_refresh=False) as live:
        while True:
            try:
                await sampler.read()
            except KubeError as error:
                if not error.passing:
                    raise
                page = Group(_page(sampler.rows(), reader), f"no answer, asking again: {said(error)}")
            else:
                page = Group(_page(sampler.rows(), reader))
            live.update(page, refresh=True)
            await asyncio.sleep(interval_s)


def _page(rows: list[view.ModelRow], reader: Reader) -> Group:
    if not rows:
        where = "any namespace" if reader.namespace is None else f"namespace {reader.namespace}"
        return Group(f"no SpeculativeModels in {where}")
    return Group(*view.page(rows, reader.namespace is None))


class Sampler:
    """Reads the metrics of the pods there are, and keeps them long enough for rates."""

    def __init__(self, reader: Reader, name: str | None, window_s: float) -> None:
        self._reader = reader
        self._name = name
        self._window_s = window_s
        self._models: list[Object] = []
        self._pods: list[Pod] = []
        self._windows: dict[str, Window] = {}
        self._reasons: dict[str, str] = {}
        self._turns = asyncio.Semaphore(SCRAPES_AT_ONCE)

    async def read(self) -> bool:
        """One reading of everything, and whether any pod answered. Raises Unusable and KubeError."""
        name = self._name
        self._models = await self._reader.models() if name is None else [await self._reader.model(name)]
        self._pods = await self._reader.pods(name)
        there = {pod.uid for pod in self._pods}
        self._windows = {pod: window for pod, window in self._windows.items() if pod in there}
        self._reasons = {}
        await asyncio.gather(*map(self._scrape, self._pods))
        return bool(self._windows)

    async def _scrape(self, pod: Pod) -> None:
        """Adds to the pod's window, or ends it: what is shown is what answers now."""
        reason = await self._add(pod)
        if reason:
            self._reasons[pod.uid] = reason
            self._windows.pop(pod.uid, None)

    async def _add(self, pod: Pod) -> str:
        """Why there is nothing to add; empty where there is."""
        if not pod.running or pod.port is None:
            return f"does not run: {pod.message or pod.state}"
        try:
            async with self._turns:
                text = await self._reader.metrics(pod)
            read = parse_scrape(text, time.monotonic(), pod.restarts)
        except KubeError as error:
            if forbidden(error):
                return f"not read: ask for the right to get pods/proxy in namespace {pod.namespace}"
            return f"does not answer: {said(error)}"
        except ValueError:
            return "does not answer: what it sends is no metrics"
        self._windows.setdefault(pod.uid, Window(self._window_s)).add(read)
        return ""

    def rows(self) -> list[view.ModelRow]:
        """As last read: the models, and pods whose model is gone."""
        models = {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in self._models}
        keys = sorted({*models, *((pod.namespace, pod.model) for pod in self._pods)})
        return [self._row(*key, models.get(key)) for key in keys]

    def _row(self, namespace: str, name: str, model: Object | None) -> view.ModelRow:
        pods = [pod for pod in self._pods if (pod.namespace, pod.model) == (namespace, name)]
        targets = [ends for pod in pods if pod.role == "target" and (ends := self._ends(pod)) is not None]
        state = "deleted" if model is None else "Ready" if is_ready(model) else "not ready"
        figures = target_figures(targets) if targets else None
        return view.ModelRow(namespace, name, state, figures, [self._pod_row(pod) for pod in pods])

    def _pod_row(self, pod: Pod) -> view.PodRow:
        ends = self._ends(pod)
        if ends is None:
            return view.PodRow(pod, None, self._reasons.get(pod.uid, "not read yet"))
        return view.PodRow(pod, target_figures([ends]) if pod.role == "target" else draft_figures([ends]), "")

    def _ends(self, pod: Pod) -> Ends | None:
        window = self._windows.get(pod.uid)
        return window.ends() if window is not None else None
