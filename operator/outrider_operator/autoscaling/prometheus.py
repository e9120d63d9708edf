"""Readings of pods from a Prometheus that has read them, or what speaks its API, such as OpenShift's thanos-querier.

One query brings all figures of all pods. It asks what counters grew by within the window, which Prometheus works out
over restarts too: a pod's answer stands as two readings, one of nothing and one of the growth.
"""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from outrider_operator.autoscaling.pods import SeenPod
from outrider_operator.autoscaling.scraper import OnRead
from outrider_operator.autoscaling.signals import (
    AVERAGED_GAUGES,
    COUNTERS,
    HISTOGRAMS,
    LABELLED_COUNTERS,
    LABELLED_GAUGES,
    LATEST_GAUGES,
    Readings,
)
from outrider_operator.autoscaling.source import Read
from outrider_operator.measure.scrape import PREFIX, Scrape

# Prometheus reads every 30 s where nobody says otherwise: four readings, so that one that fails leaves a rate.
WINDOW_S = 120
# What it knows of a pod that it cannot read any more is old after so long.
LATEST_S = 60
DEADLINE_S = 10.0
# What the query calls the metric, and its label beside the pod's.
METRIC, LABEL = "outrider_metric", "outrider_label"


class NoAnswer(Exception):
    """One line: how it failed. Never what was sent."""


@dataclass(frozen=True)
class Address:
    """url: without /api/v1. token_file: whose content is sent as a bearer's token, read anew each time."""

    url: str
    token_file: Path | None = None
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Trusts the authority of the file beside those that the system does. Raises ssl.SSLError where it is none."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


class Prometheus:
    """A `Source`."""

    def __init__(self, address: Address, on_read: OnRead, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._on_read = on_read
        self._clock = clock

    async def __aenter__(self) -> Prometheus:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=DEADLINE_S),
            connector=aiohttp.TCPConnector(ssl=self._address.tls),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self._session.close()

    async def read(self, pods: Collection[SeenPod]) -> Read:
        if not pods:
            return Read()
        started = self._clock()
        failure = ""
        found: dict[tuple[str, str], Growth] = {}
        try:
            found = growths(await self._ask(query({pod.namespace for pod in pods})))
        except NoAnswer as error:
            failure = f"Prometheus: {error}"
        self._on_read(not failure, self._clock() - started)
        now_s = self._clock()
        readings = {
            pod.uid: growth.readings(now_s)
            for pod in pods
            if (growth := found.get((pod.namespace, pod.name))) is not None and growth.whole
        }
        missing = failure or "Prometheus has nothing of it: see whether its PodMonitor is taken up"
        return Read(readings, {pod.uid: missing for pod in pods if pod.uid not in readings})

    async def _ask(self, expression: str) -> list[Any]:
        """Raises NoAnswer."""
        url = f"{self._address.url.rstrip('/')}/api/v1/query"
        try:
            headers = await asyncio.to_thread(self._authorization)
            # As a form: the expression is longer than some servers take an address to be. A redirect would take the
            # token to another.
            async with self._session.post(
                url, data={"query": expression}, headers=headers, allow_redirects=False
            ) as answer:
                body = await answer.read()
                if answer.status != HTTPStatus.OK:
                    raise NoAnswer(f"status {answer.status}{_said(answer.status, body)}")
        except TimeoutError:
            raise NoAnswer(f"no answer within {DEADLINE_S:.0f} s") from None
        except aiohttp.ClientError as error:
            raise NoAnswer(type(error).__name__) from None
        except OSError as error:
            raise NoAnswer(f"{type(error).__name__}: {error.strerror}") from None
        try:
            found: list[Any] = json.loads(body)["data"]["result"]
        except (ValueError, KeyError, TypeError):
            raise NoAnswer("what it sends is no answer to a query") from None
        return found

    def _authorization(self) -> dict[str, str]:
        if self._address.token_file is None:
            return {}
        return {"Authorization": f"Bearer {self._address.token_file.read_text(encoding='utf-8').strip()}"}


def _said(status: int, body: bytes) -> str:
    """Its own words about a query that it does not take, shortened. What refuses a token may repeat it: not told."""
    if status not in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
        return ""
    try:
        return f": {json.loads(body)['error']}"[:200]
    except (ValueError, KeyError, TypeError):
        return ""


def query(namespaces: Iterable[str]) -> str:
    """All figures of all pods in these namespaces, each with the metric's name in a label."""
    # Names of namespaces have no characters that mean anything in an expression.
    of = f'{{namespace=~"{"|".join(sorted(namespaces))}",pod!=""}}'
    return " or ".join(_named(name, label, over) for name, label, over in _parts(of))


def _parts(of: str) -> Iterator[tuple[str, str | None, str]]:
    """A metric, its label, and what is asked of it."""
    for name in sorted(COUNTERS):
        yield name, None, f"increase({PREFIX}{name}{of}[{WINDOW_S}s])"
    for name, label in sorted(LABELLED_COUNTERS.items()):
        yield name, label, f"increase({PREFIX}{name}{of}[{WINDOW_S}s])"
    for name in sorted(HISTOGRAMS):
        yield f"{name}_bucket", "le", f"increase({PREFIX}{name}_bucket{of}[{WINDOW_S}s])"
    for name in sorted(AVERAGED_GAUGES):
        yield name, None, f"avg_over_time({PREFIX}{name}{of}[{WINDOW_S}s])"
    for name in sorted(LATEST_GAUGES):
        yield name, None, f"last_over_time({PREFIX}{name}{of}[{LATEST_S}s])"
    for name, label in sorted(LABELLED_GAUGES.items()):
        yield name, label, f"last_over_time({PREFIX}{name}{of}[{LATEST_S}s])"


def _named(name: str, label: str | None, over: str) -> str:
    by = f"namespace, pod{'' if label is None else f', {label}'}"
    # Not the sum: what several have read, or replicas of one Prometheus, is told as often.
    one = f"max by ({by}) ({over})"
    if label is not None:
        one = f'label_replace({one}, "{LABEL}", "$1", "{label}", "(.*)")'
    return f'label_replace({one}, "{METRIC}", "{name}", "", "")'


@dataclass
class Growth:
    """What one pod's counters and histograms grew by within the window, and its gauges, by name."""

    values: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    buckets: dict[str, dict[float, float]] = field(default_factory=lambda: defaultdict(dict))

    def take(self, labels: Mapping[str, str], value: float) -> None:
        """Leaves out what is no number, and a bucket without its bound."""
        name = labels[METRIC]
        if not math.isfinite(value):
            return
        if name.endswith("_bucket"):
            bound = _bound(labels.get("le", ""))
            if bound is not None:
                self.buckets[name.removesuffix("_bucket")][bound] = value
            return
        self.values[name] += value
        if LABEL in labels:
            self.values[f"{name}{{{labels[LABEL]}}}"] += value

    @property
    def whole(self) -> bool:
        """Whether it was read twice: before that nothing can have grown."""
        return any(name.endswith("_total") for name in self.values)

    def readings(self, now_s: float) -> Readings:
        """Gauges stand in both: the mean of the two is the mean over the window."""
        gauges = {name: self.values[name] for name in AVERAGED_GAUGES if name in self.values}
        return (
            Scrape(now_s - WINDOW_S, 0, gauges),
            Scrape(now_s, 0, dict(self.values), {name: dict(each) for name, each in self.buckets.items()}),
        )


def growths(result: Iterable[Any]) -> dict[tuple[str, str], Growth]:
    """By namespace and name of the pod. A series of none, as recording rules and federation leave them, is passed over:
    it says nothing of the others. Raises NoAnswer for a result that is not a vector.
    """
    found: dict[tuple[str, str], Growth] = defaultdict(Growth)
    try:
        for each in result:
            labels, (_, value) = each["metric"], each["value"]
            number = float(value)
            if {"namespace", "pod", METRIC} <= labels.keys():
                found[labels["namespace"], labels["pod"]].take(labels, number)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise NoAnswer("what it sends is no vector of pods") from None
    return dict(found)


def _bound(text: str) -> float | None:
    """None where it is no number."""
    try:
        bound = float(text)
    except ValueError:
        return None
    return None if math.isnan(bound) else bound
