"""`outrider logs NAME`: what the pods of a model say, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal, NoReturn

import typer
from rich.text import Text

from outrider_operator.cluster.complete import model_names
from outrider_operator.cluster.connection import (
    ContextFlag,
    KubeconfigFlag,
    NamespaceFlag,
    Place,
    Unusable,
    connected,
    said,
)
from outrider_operator.cluster.log_line import Stamped, parse_since_s, readable, stamped
from outrider_operator.cluster.observed import Container, Pod
from outrider_operator.cluster.reader import Reader, forbidden
from outrider_operator.kube.errors import KubeError
from outrider_operator.terminal import console, fail, program, show_error

NO_PODS = 1
BEGINNING = datetime.min.replace(tzinfo=UTC)
# How soon pods that are new, and containers that start again, are followed too.
LOOK_S = 1.0
COLOURS = ("cyan", "magenta", "green", "blue", "yellow", "bright_cyan", "bright_magenta", "bright_green")


@dataclass(frozen=True)
class Wish:
    """What the flags say of the logs."""

    role: str | None
    previous: bool
    since_s: int | None
    tail: int | None
    raw: bool

    def query(self, resume: Stamped | None = None) -> dict[str, str]:
        """For the API server. resume: the last line that was shown, when a container is followed on."""
        query = {"timestamps": "true"}
        if self.previous:
            query["previous"] = "true"
        if resume is not None and resume.at is not None:
            # The server compares whole seconds: what it sends twice is left out later.
            return {**query, "sinceTime": resume.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        if self.since_s is not None:
            query["sinceSeconds"] = str(self.since_s)
        if self.tail is not None:
            query["tailLines"] = str(self.tail)
        return query


def logs(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the SpeculativeModel.", autocompletion=model_names)
    ],
    role: Annotated[
        Literal["target", "draft"] | None, typer.Option(help="Only the pods of this role.", show_default=False)
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what they say from now on, and with pods that are new.")
    ] = False,
    since: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Only what is newer: 30s, 10m, 1h30m, 2d.", show_default=False)
    ] = None,
    tail: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Only the last N lines of each pod.", show_default=False)
    ] = None,
    previous: Annotated[
        bool, typer.Option("--previous", "-p", help="What containers said before they were started again.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", "--json", help="Lines as the pods write them, JSON, and nothing before them.")
    ] = False,
    namespace: NamespaceFlag = None,
    context: ContextFlag = None,
    kubeconfig: KubeconfigFlag = None,
) -> None:
    """Print the logs of all pods of a model, in the order of time, with role and pod before each line.

    Lines of Outrider's own are printed as `time level event key=value`, in the pods' time, others as they are.

    \b
    Exit codes
      0    printed; what a pod has no log of yet is told on standard error
      1    the model has no pods
      2    there is no such model, no cluster, or no right to look
      130  ended by Ctrl-C
    """
    if follow and previous:
        fail("--previous: what has ended cannot be followed; leave out --follow")
    try:
        wish = Wish(role, previous, None if since is None else parse_since_s(since), tail, raw)
    except ValueError:
        fail(f"--since: {since!r} is no time span; write 30s, 10m, 1h30m or 2d")
    place = Place(namespace, False, context, kubeconfig)
    try:
        asyncio.run(_logs(place, name, wish, follow))
    except Unusable as error:
        fail(str(error))


async def _logs(place: Place, name: str, wish: Wish, follow: bool) -> None:
    """Raises Unusable."""
    place.check(name)
    async with connected(place) as connection:
        reader = Reader(connection)
        await reader.model(name)
        printer = Printer(wish.raw)
        if follow:
            await Follower(reader, name, wish, printer).run()
        await _print_all(reader, name, wish, printer)


async def _print_all(reader: Reader, name: str, wish: Wish, printer: Printer) -> None:
    """What there is now, of all pods in the order of time."""
    pods = await reader.pods(name, wish.role)
    if not pods:
        which = f"{wish.role} pods" if wish.role else "pods"
        fail(f"{name} has no {which}; see `{program()} status {name}`", NO_PODS)
    sources = [Source(pod, container) for pod in pods for container in pod.containers]
    printer.expect(sources)
    reading = [_all_lines(reader, source, wish, printer) for source in sources]
    lines = []
    # All come to their end before the first that failed ends the command: none is cut off in the middle.
    for read in await asyncio.gather(*reading, return_exceptions=True):
        if isinstance(read, BaseException):
            raise read
        lines.append(read)
    # Stable: lines of one time stay in the order of their pods, those without a time stay where they are.
    for line, source in sorted(
        ((line, source) for of_source, source in zip(lines, sources, strict=True) for line in of_source),
        key=lambda each: each[0].at or BEGINNING,
    ):
        printer.print(source, line)


@dataclass(frozen=True)
class Source:
    """A container of a pod."""

    pod: Pod
    container: Container

    @property
    def prefix(self) -> str:
        """role/pod: the pod without what all the role's pods share. Of a container that runs first, its name too."""
        pod = self.pod.short_name.removeprefix(f"{self.pod.role}-")
        return f"{self.pod.role}/{pod}" + (f"/{self.container.name}" if self.container.init else "")


async def _all_lines(reader: Reader, source: Source, wish: Wish, printer: Printer) -> list[Stamped]:
    if not source.container.started:
        if not source.container.init:
            printer.note(source, f"no log yet: {source.pod.message or source.pod.state}")
        return []
    found: list[Stamped] = []
    try:
        async for line in _lines(reader, source, wish.query()):
            # The kubelet's own words have no time: they belong after what came before them.
            at = line.at or (found[-1].at if found else None)
            found.append(Stamped(at, line.stamp, line.text))
    except KubeError as error:
        if forbidden(error):
            raise
        if not (wish.previous and source.container.init):
            printer.note(source, said(error))
    return found


async def _lines(reader: Reader, source: Source, query: dict[str, str]) -> AsyncIterator[Stamped]:
    async for raw in reader.log(source.pod, source.container.name, query):
        yield stamped(raw)


class Printer:
    """Standard output, with who says it before each line; notes go to standard error."""

    def __init__(self, raw: bool) -> None:
        self._raw = raw
        self._out = console()
        self._errors = console(stderr=True)
        self._colours: dict[str, str] = {}
        self._width = 0
        self._noted: set[tuple[str, str]] = set()

    def expect(self, sources: list[Source]) -> None:
        """Gives those that are to speak their colours, and one column to all."""
        for source in sources:
            if source.prefix not in self._colours:
                self._colours[source.prefix] = COLOURS[len(self._colours) % len(COLOURS)]
                self._width = max(self._width, len(source.prefix))

    def print(self, source: Source, line: Stamped) -> None:
        if self._raw:
            typer.echo(line.text)
            return
        prefix = Text(f"{source.prefix:<{self._width}} ", self._colours[source.prefix])
        first, *others = readable(line.text).split("\n")
        self._out.print(Text.assemble(prefix, first))
        for other in others:
            self._out.print(Text.assemble(prefix, other))

    def note(self, source: Source, text: str) -> None:
        """Once each: a follower meets the same again and again."""
        if (source.prefix, text) not in self._noted:
            self._noted.add((source.prefix, text))
            self._errors.print(Text(f"{source.prefix}: {' '.join(text.split())}", "yellow"))


class Follower:
    """Follows every container of the model's pods, those that come later too, until a signal ends it."""

    def __init__(self, reader: Reader, name: str, wish: Wish, printer: Printer) -> None:
        self._reader = reader
        self._name = name
        self._wish = wish
        self._printer = printer
        self._last: dict[tuple[str, str], Stamped] = {}
        self._said: set[tuple[str, str, str]] = set()  # without a time, by the kubelet itself
        self._begun: set[tuple[str, str]] = set()
        self._outage = ""

    async def run(self) -> NoReturn:
        """Raises KubeError where the server refuses, and goes on where it cannot answer just now."""
        following: dict[tuple[str, str], asyncio.Task[None]] = {}
        try:
            while True:
                for source in await self._sources():
                    key = source.pod.uid, source.container.name
                    task = following.get(key)
                    if task is not None and task.done():
                        task.result()
                    if self._wants(source, key) and (task is None or task.done()):
                        following[key] = asyncio.create_task(self._follow(source, key))
                await asyncio.sleep(LOOK_S)
        finally:
            for task in following.values():
                task.cancel()
            await asyncio.gather(*following.values(), return_exceptions=True)

    async def _sources(self) -> list[Source]:
        try:
            pods = await self._reader.pods(self._name, self._wish.role)
        except KubeError as error:
            if not error.passing:
                raise
            if said(error) != self._outage:
                self._outage = said(error)
                show_error(f"no answer, asking again: {self._outage}")
            return []
        self._outage = ""
        sources = [Source(pod, container) for pod in pods for container in pod.containers]
        self._printer.expect(sources)
        return sources

    def _wants(self, source: Source, key: tuple[str, str]) -> bool:
        """Whether there is something to follow that has not been read to its end."""
        if not source.container.started:
            if not source.container.init:
                self._printer.note(source, f"no log yet: {source.pod.message or source.pod.state}")
            return False
        return not (source.container.ended and key in self._begun)

    async def _follow(self, source: Source, key: tuple[str, str]) -> None:
        """Until the container ends, or the connection does: then it is taken up at the line after the last."""
        resume = self._last.get(key)
        # Whoever asks for the last lines has them after the first time, however few there were.
        query = self._wish.query(resume)
        self._begun.add(key)
        try:
            async for line in _lines(self._reader, source, {**query, "follow": "true"}):
                if resume is not None and line.stamp and line.stamp <= resume.stamp:
                    continue
                if line.at is not None:
                    self._last[key] = line
                elif (*key, line.text) in self._said:
                    continue  # as of a pod that was evicted: that its log is gone is the answer each time
                else:
                    self._said.add((*key, line.text))
                self._printer.print(source, line)
        except KubeError as error:
            if forbidden(error):
                raise
            if not error.not_found:
                self._printer.note(source, said(error))
