"""The readings of one pod over the last seconds."""

from collections import deque
from dataclasses import replace

from outrider_operator.measure.scrape import COUNTED, Scrape

WINDOW_S = 10.0


class Window:
    """What rates of one pod are computed from. length_s: of what people look at; controllers want longer ones."""

    def __init__(self, length_s: float = WINDOW_S) -> None:
        self._length_s = length_s
        self._scrapes: deque[Scrape] = deque()

    def add(self, scrape: Scrape) -> None:
        """Takes a reading, and forgets those that the window has moved past: the one at its edge is kept."""
        self._scrapes.append(_whole(self._scrapes[-1], scrape) if self._scrapes else scrape)
        while len(self._scrapes) > 2 and self._scrapes[1].at_s <= scrape.at_s - self._length_s:
            self._scrapes.popleft()

    def clear(self) -> None:
        """Forgets all: the process they came from is gone."""
        self._scrapes.clear()

    def ends(self) -> tuple[Scrape, Scrape] | None:
        """The oldest and the newest reading, None when there is none."""
        return (self._scrapes[0], self._scrapes[-1]) if self._scrapes else None

    def readings(self) -> tuple[Scrape, ...]:
        """All of them, the oldest first."""
        return tuple(self._scrapes)


def _whole(before: Scrape, after: Scrape) -> Scrape:
    """A counter that a page leaves out stands as it was: else the next page's, a week's perhaps, would be growth."""
    if before.run != after.run:
        return after
    counters = {name for name in before.values.keys() - after.values.keys() if name.partition("{")[0].endswith(COUNTED)}
    histograms = before.buckets.keys() - after.buckets.keys()
    if not counters and not histograms:
        return after
    return replace(
        after,
        values={**after.values, **{name: before.values[name] for name in counters}},
        buckets={**after.buckets, **{name: before.buckets[name] for name in histograms}},
    )
