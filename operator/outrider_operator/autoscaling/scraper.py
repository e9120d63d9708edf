"""Reads the pods themselves: the /metrics of all at once, each kept for as long as the window."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection

from outrider_operator.autoscaling import timing
from outrider_operator.autoscaling.pages import NoPage, Pages
from outrider_operator.autoscaling.pods import SeenPod
from outrider_operator.autoscaling.signals import WANTED
from outrider_operator.autoscaling.source import Read
from outrider_operator.measure.scrape import Scrape, parse_scrape
from outrider_operator.measure.window import Window

# Whether a page was read, and the seconds that took.
OnRead = Callable[[bool, float], None]


class Scraper:
    """A `Source`. It forgets the pods that it is not asked for any more."""

    def __init__(self, pages: Pages, on_read: OnRead, clock: Callable[[], float] = time.monotonic) -> None:
        self._pages = pages
        self._on_read = on_read
        self._clock = clock
        self._windows: dict[str, Window] = {}

    async def read(self, pods: Collection[SeenPod]) -> Read:
        asked = {pod.uid for pod in pods}
        self._windows = {uid: window for uid, window in self._windows.items() if uid in asked}
        found = await asyncio.gather(*map(self._scrape, pods))
        failures = {pod.uid: said for pod, said in zip(pods, found, strict=True) if said}
        oldest = self._clock() - timing.FRESH_S
        fresh = {uid: kept for uid, window in self._windows.items() if (kept := window.readings())[-1].at_s >= oldest}
        return Read(fresh, failures)

    async def _scrape(self, pod: SeenPod) -> str:
        """Adds to the pod's window. What kept it from that; empty where nothing did."""
        started = self._clock()
        failure = ""
        try:
            text = await self._pages.get(pod, "/metrics")
            self._add(pod.uid, parse_scrape(text, self._clock(), pod.restarts, WANTED))
        except NoPage as error:
            failure = str(error)
        except ValueError:
            failure = "what it sends is no metrics"
        self._on_read(not failure, self._clock() - started)
        return failure

    def _add(self, uid: str, scrape: Scrape) -> None:
        window = self._windows.setdefault(uid, Window(timing.WINDOW_S))
        before = window.ends()
        # After a longer silence the window would be of a time that nobody asks about.
        if before is not None and scrape.at_s - before[1].at_s > timing.WINDOW_S:
            window.clear()
        window.add(scrape)
