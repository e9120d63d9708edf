"""Who is served when several targets share a draft: the places each may take, and the rows of one forward. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# On two CPU cores a forward of a 0.5B draft over 128 rows takes about ten times one over 4: a target with a single
# sequence waits no longer than that for its next level, whatever the others ask for.
MOST_ROWS = 128
# More than this is a prompt (or a long answer that the draft missed), not a step's commit.
MOST_COMMIT_ROWS = 32
# Prompt rows beside levels: a 4k prompt is then read in 64 forwards, each about as long as a full one of levels.
PROMPT_ROWS_BESIDE_LEVELS = 64
PROMPT_ROWS = 512


@dataclass(frozen=True)
class Wanting:
    """A session that has rows to forward: `rows` of them, last served by forward number `served`."""

    stream: int
    rows: int
    served: int

    @property
    def reads_prompt(self) -> bool:
        return self.rows > MOST_COMMIT_ROWS


def rows_of_forward(wanting: Sequence[Wanting]) -> dict[int, int]:
    """Index in `wanting` → rows of it in the next forward.

    Levels first, at most MOST_ROWS of them and one session at least; streams take turns, and within a stream the
    session that has waited longest is first. Prompts get a chunk beside them, or a larger one when no level waits.
    """
    levels = [index for index, one in enumerate(wanting) if not one.reads_prompt]
    prompts = [index for index, one in enumerate(wanting) if one.reads_prompt]
    granted: dict[int, int] = {}
    room = MOST_ROWS
    for index in _in_turn(wanting, levels):
        if granted and wanting[index].rows > room:
            break
        granted[index] = wanting[index].rows
        room -= wanting[index].rows
    room = PROMPT_ROWS_BESIDE_LEVELS if granted else PROMPT_ROWS
    for index in _in_turn(wanting, prompts):
        if room <= 0:
            break
        granted[index] = min(room, wanting[index].rows)
        room -= granted[index]
    return granted


def _in_turn(wanting: Sequence[Wanting], indices: Sequence[int]) -> list[int]:
    """One session of each stream, then a second of each, and so on; those first that have waited longest."""
    taken: dict[int, int] = defaultdict(int)
    turns = []
    for index in sorted(indices, key=lambda index: wanting[index].served):
        one = wanting[index]
        turns.append((taken[one.stream], one.served, index))
        taken[one.stream] += 1
    return [index for _, _, index in sorted(turns)]


def places(stream: int, held: Mapping[int, int], most: int) -> int:
    """Sequences that `stream` may have, of `most` in all: what is free beside what it holds, and never less than its
    share among the streams that have any.

    `held`: sequences of each stream.
    """
    free = most - sum(held.values())
    return max(held.get(stream, 0) + free, _share(stream, held, most))


def gives_way(stream: int, held: Mapping[int, int], most: int) -> int | None:
    """The stream that must give a place to one more sequence of `stream` when none is free; None when `stream` has
    its share already.
    """
    share = _share(stream, held, most)
    if held.get(stream, 0) >= share:
        return None
    fullest = max(held, key=lambda other: held[other])
    return fullest if held[fullest] > share else None


def _share(stream: int, held: Mapping[int, int], most: int) -> int:
    active = {other for other, count in held.items() if count} | {stream}
    return max(1, most // len(active))
