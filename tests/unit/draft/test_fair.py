"""Several targets on one draft: whose rows a forward holds, and whose sequences have places."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from outrider_serving.draft.fair import (
    MOST_COMMIT_ROWS,
    MOST_ROWS,
    PROMPT_ROWS,
    PROMPT_ROWS_BESIDE_LEVELS,
    Wanting,
    gives_way,
    places,
    rows_of_forward,
)

sessions = st.lists(
    st.builds(Wanting, stream=st.integers(1, 4), rows=st.integers(1, 600), served=st.integers(0, 9)), max_size=80
)


@given(sessions)
def test_a_forward_is_bounded_and_serves_somebody(wanting: list[Wanting]) -> None:
    granted = rows_of_forward(wanting)
    levels = {index: rows for index, rows in granted.items() if not wanting[index].reads_prompt}
    prompts = sum(granted.values()) - sum(levels.values())
    assert bool(granted) == bool(wanting)
    assert all(0 < rows <= wanting[index].rows for index, rows in granted.items())
    assert all(rows == wanting[index].rows for index, rows in levels.items())
    assert sum(levels.values()) <= MOST_ROWS
    assert prompts <= (PROMPT_ROWS_BESIDE_LEVELS if levels else PROMPT_ROWS)


@given(sessions)
def test_every_stream_with_a_level_is_served_before_any_has_its_second(wanting: list[Wanting]) -> None:
    levels = [one for one in wanting if not one.reads_prompt]
    if len({one.stream for one in levels}) * MOST_COMMIT_ROWS > MOST_ROWS:
        return
    granted = [wanting[index] for index in rows_of_forward(wanting) if not wanting[index].reads_prompt]
    assert {one.stream for one in granted} == {one.stream for one in levels}


def test_a_target_with_one_sequence_is_in_every_forward_beside_one_with_sixty_four() -> None:
    served = dict.fromkeys(range(65), 0)
    times: Counter[int] = Counter()
    for forward in range(1, 13):
        wanting = [Wanting(1 if index < 64 else 2, rows=4, served=served[index]) for index in range(65)]
        for index in rows_of_forward(wanting):
            served[index] = forward
            times[index] += 1
    assert times[64] == 12
    assert all(times[index] >= 4 for index in range(64))


def test_a_long_prompt_is_read_in_small_chunks_beside_levels_and_in_large_ones_alone() -> None:
    prompt, level = Wanting(1, rows=4000, served=0), Wanting(2, rows=4, served=3)
    assert rows_of_forward([prompt, level]) == {0: PROMPT_ROWS_BESIDE_LEVELS, 1: 4}
    assert rows_of_forward([prompt]) == {0: PROMPT_ROWS}


def test_prompts_are_read_in_turns() -> None:
    first, second = Wanting(1, rows=4000, served=5), Wanting(2, rows=4000, served=2)
    assert rows_of_forward([first, second]) == {1: PROMPT_ROWS}


def test_a_target_alone_may_have_every_place_and_gives_way_up_to_its_share() -> None:
    assert places(1, {}, most=16) == 16
    assert places(1, {1: 16}, most=16) == 16
    assert places(2, {1: 16}, most=16) == 8
    assert gives_way(2, {1: 16}, most=16) == 1
    assert gives_way(2, {1: 8, 2: 8}, most=16) is None
    assert gives_way(1, {1: 16}, most=16) is None


@given(st.dictionaries(st.integers(1, 5), st.integers(1, 20), min_size=1, max_size=5), st.integers(1, 5))
def test_giving_way_ends_at_equal_shares_and_never_goes_in_circles(held: dict[int, int], stream: int) -> None:
    most = sum(held.values())
    other = gives_way(stream, held, most)
    if other is not None:
        after = Counter(held)
        after[other] -= 1
        after[stream] += 1
        assert after[stream] <= after[other] + 1
        assert gives_way(other, after, most) != stream
        assert held.get(stream, 0) < places(stream, held, most)
