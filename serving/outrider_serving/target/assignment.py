"""Which draft a sequence goes to. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

Draft = TypeVar("Draft")

# With 8 places each: 2 sequences stay where they are beside an empty draft, of 3 one moves. A move costs a draft
# the reading of a prompt, so small differences are left to the sequences that come.
LARGE_IMBALANCE = 2.0


@dataclass(frozen=True)
class Places:
    """Of one draft that can be asked: the sequences it may have of this target, and those it has."""

    capacity: int
    assigned: int

    @property
    def free(self) -> bool:
        return self.assigned < self.capacity

    @property
    def load(self) -> float:
        return self.assigned / max(1, self.capacity)

    @property
    def with_one_more(self) -> Places:
        return Places(self.capacity, self.assigned + 1)


def least_loaded(drafts: Mapping[Draft, Places], refused: Collection[Draft] = ()) -> Draft | None:
    """The draft that is fullest least with one more sequence, of those that have room and have not refused it."""
    free = [draft for draft, places in drafts.items() if places.free and draft not in refused]
    return min(free, key=lambda draft: drafts[draft].with_one_more.load, default=None)


def overloaded(drafts: Mapping[Draft, Places]) -> tuple[Draft, Draft] | None:
    """From which draft one sequence should move, and to which; None while the imbalance is not large."""
    to = least_loaded(drafts)
    if to is None:
        return None
    fullest = max(drafts, key=lambda draft: drafts[draft].load)
    if drafts[fullest].load <= LARGE_IMBALANCE * drafts[to].with_one_more.load:
        return None
    return fullest, to
