"""Text as it comes: never half a character, never past a stop string."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outrider_serving.engine.detokenizer import Detokenizer
from support.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def fed(text: str, *stop: str) -> tuple[list[str], Detokenizer]:
    detokenizer = Detokenizer(TOKENIZER, stop)
    pieces: list[str] = []
    for token in TOKENIZER.encode(text, add_special_tokens=False):
        pieces.append(detokenizer.feed(token))
        if detokenizer.stopped:
            break
    return [*pieces, detokenizer.flush()], detokenizer


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=30))
def test_the_pieces_are_the_text(text: str) -> None:
    pieces, _ = fed(text)
    whole = TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False), skip_special_tokens=True)
    assert "".join(pieces) == whole


def test_a_character_of_several_tokens_comes_whole() -> None:
    pieces, _ = fed("a😀b")
    assert "".join(pieces) == "a😀b"
    assert "�" not in "".join(pieces)


@pytest.mark.parametrize(
    ("text", "stop", "left"),
    [
        ("one two three", ("two",), "one "),
        ("one two three", ("three", "two"), "one "),
        ("one two three", ("four",), "one two three"),
        ("aab", ("ab",), "a"),
        ("stop", ("stop",), ""),
        ("a\n\nb", ("\n\n",), "a"),
        ("one tw", ("two",), "one tw"),
    ],
)
def test_text_ends_before_a_stop_string(text: str, stop: tuple[str, ...], left: str) -> None:
    pieces, detokenizer = fed(text, *stop)
    assert "".join(pieces) == left
    assert detokenizer.stopped == (left != text)


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_nothing_that_begins_a_stop_string_is_shown_before_it_is_known(text: str, stop: list[str]) -> None:
    pieces, detokenizer = fed(text, *stop)
    shown = "".join(pieces)
    assert not any(one in shown for one in stop)
    assert detokenizer.stopped == any(one in text for one in stop)
    assert any(text[len(shown) :].startswith(one) for one in stop) if detokenizer.stopped else shown == text
