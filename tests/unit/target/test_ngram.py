"""Prompt lookup finds what followed last time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from outrider_serving.target.ngram import MIN_MATCH, NGramIndex


def proposed(tokens: list[int], depth: int = 4) -> tuple[int, ...]:
    index = NGramIndex()
    index.extend(tokens)
    return index.propose(depth).tokens


def test_a_repeated_phrase_is_continued() -> None:
    assert proposed([1, 2, 3, 4, 5, 9, 1, 2, 3]) == (4, 5, 9, 1)


def test_the_latest_occurrence_is_taken() -> None:
    assert proposed([1, 2, 3, 0, 1, 2, 4, 0, 1, 2], depth=1) == (4,)


def test_nothing_is_proposed_where_nothing_repeats() -> None:
    assert proposed([1, 2, 3, 4, 5]) == ()
    assert proposed([1]) == ()


def test_a_longer_match_is_believed_more() -> None:
    index = NGramIndex()
    index.extend([1, 2, 3, 4, 5, 6, 9, 9, 8, 5, 6])
    short = index.propose(1).scores[0]
    index = NGramIndex()
    index.extend([1, 2, 3, 4, 5, 6, 9, 9, 3, 4, 5, 6])
    assert index.propose(1).scores[0] > short


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 8))
def test_what_is_proposed_followed_the_same_two_tokens_before(tokens: list[int], depth: int) -> None:
    found = proposed(tokens, depth)
    if found:
        needle = tuple(tokens[-MIN_MATCH:]) + found
        assert any(tuple(tokens[start : start + len(needle)]) == needle for start in range(len(tokens)))


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 60))
def test_an_index_that_grows_is_one_that_was_built_at_once(tokens: list[int], cut: int) -> None:
    grown = NGramIndex()
    grown.extend(tokens[:cut])
    grown.propose(3)
    grown.extend(tokens)
    assert grown.propose(5).tokens == proposed(tokens, 5)
