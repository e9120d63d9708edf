"""The readings of one pod over the last seconds."""

from collections import deque

from outrider_operator.measure.scrape import Scrape

WINDOW_S = 10.0


class Window:
    """What rates of one pod are computed from. length_s: of what people look at; controllers want longer ones."""

    def __init__(self, length_s: float = WINDOW_S) -> None:
        self._length_s = length_s
        self._scrapes: deque[Scrape] = deque()

    def add(self, scrape: Scrape) -> None:
        """Takes a reading, and forgets those that the window has moved past: the one at its edge is kept."""
        self._scrapes.append(scrape)
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
