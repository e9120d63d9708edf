"""Which draft a sequence goes to: the least loaded one with room, and few moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from outrider_serving.target.assignment import Places, least_loaded, overloaded

capacities = st.lists(st.integers(0, 8), min_size=1, max_size=4)


def filled(capacity: list[int], sequences: int) -> dict[int, int]:
    """Drafts of these capacities after so many sequences have come, one after another."""
    assigned = dict.fromkeys(range(len(capacity)), 0)
    for _ in range(sequences):
        draft = least_loaded({one: Places(capacity[one], count) for one, count in assigned.items()})
        if draft is not None:
            assigned[draft] += 1
    return assigned


@given(capacities, st.integers(0, 40))
def test_no_draft_gets_more_than_it_has_room_for_and_none_is_left_out_while_another_is_full(
    capacity: list[int], sequences: int
) -> None:
    assigned = filled(capacity, sequences)
    assert all(assigned[draft] <= most for draft, most in enumerate(capacity))
    assert sum(assigned.values()) == min(sequences, sum(capacity))


@given(st.integers(1, 8), st.integers(1, 4), st.integers(0, 40))
def test_equal_drafts_differ_by_one_sequence_at_most(capacity: int, drafts: int, sequences: int) -> None:
    counts = filled([capacity] * drafts, sequences).values()
    assert max(counts) - min(counts) <= 1


@given(capacities, st.integers(0, 40))
def test_no_draft_is_fuller_than_another_would_be_with_one_sequence_more(capacity: list[int], sequences: int) -> None:
    assigned = filled(capacity, sequences)
    places = [Places(most, assigned[draft]) for draft, most in enumerate(capacity) if most]
    assert all(one.load <= other.with_one_more.load + 1e-9 for one in places for other in places)


def test_a_draft_that_refused_is_not_asked_again() -> None:
    places = {"a": Places(8, 0), "b": Places(8, 5)}
    assert least_loaded(places) == "a"
    assert least_loaded(places, {"a"}) == "b"
    assert least_loaded(places, {"a", "b"}) is None


def test_a_draft_that_appears_beside_a_loaded_one_is_given_some_of_its_sequences_but_not_to_the_last() -> None:
    loaded, fresh, moves = 8, 0, 0
    while overloaded({"loaded": Places(8, loaded), "fresh": Places(8, fresh)}) == ("loaded", "fresh"):
        loaded, fresh, moves = loaded - 1, fresh + 1, moves + 1
    assert 0 < moves < 4
    assert loaded + fresh == 8


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 12)), min_size=2, max_size=4))
def test_a_move_never_makes_the_draft_it_goes_to_the_fuller_one(drafts: list[tuple[int, int]]) -> None:
    places = {draft: Places(capacity, assigned) for draft, (capacity, assigned) in enumerate(drafts)}
    move = overloaded(places)
    if move is not None:
        source, to = move
        assert places[to].free
        assert places[to].with_one_more.load < places[source].load


def test_small_differences_are_left_to_the_sequences_that_come() -> None:
    assert overloaded({"a": Places(8, 2), "b": Places(8, 0)}) is None
    assert overloaded({"a": Places(8, 3), "b": Places(8, 0)}) == ("a", "b")
    assert overloaded({"a": Places(8, 8)}) is None
    assert overloaded({}) is None
