"""Text as it comes: never half a character, never past a stop string."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outrider_serving.engine import detokenizer as detokenizer_module
from outrider_serving.engine.detokenizer import BEGUN_TOKENS, PENDING_TOKENS, Detokenizer
from support.tiny import byte_fallback_tokenizer, tiny_tokenizer
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerFast

TOKENIZER = tiny_tokenizer()
BYTES = byte_fallback_tokenizer()


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


def spoken(*tokens: str) -> list[str]:
    """The pieces of text that these of BYTES give, one after the other, and what is left at the end."""
    detokenizer = Detokenizer(BYTES)
    return [*(detokenizer.feed(BYTES.get_vocab()[token]) for token in tokens), detokenizer.flush()]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=30))
def test_the_pieces_are_the_text_where_tokens_are_bytes(text: str) -> None:
    tokens = BYTES.encode(text, add_special_tokens=False)
    assert "".join(spoken(*BYTES.convert_ids_to_tokens(tokens))) == BYTES.decode(tokens)


def test_a_byte_that_is_no_character_leaves_what_has_come() -> None:
    newline = "<0x0A>"
    assert spoken("▁Hello", newline, "<0xF0>", "a", "▁world") == ["Hello", "\n", "", "�a", " world", ""]


@pytest.mark.parametrize("tokenizer", [TOKENIZER, BYTES], ids=["byte level", "byte fallback"])
@given(data=st.data())
def test_no_tokens_whatever_end_in_an_error(tokenizer: PreTrainedTokenizerFast, data: st.DataObject) -> None:
    detokenizer = Detokenizer(tokenizer)
    for token in data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=40)):
        detokenizer.feed(token)


def test_half_a_character_comes_when_the_answer_ends() -> None:
    assert spoken("▁Hello", "<0xF0>", "<0x9F>") == ["Hello", "", "", "��"]


def test_bytes_that_never_become_a_character_are_not_held_for_ever() -> None:
    pieces = spoken("▁Hello", *["<0xF0>"] * 40, "▁world")
    assert "".join(pieces) == "Hello" + "�" * 40 + " world"
    assert max(map(len, pieces)) < 20


@pytest.mark.parametrize("tokenizer", [TOKENIZER, BYTES], ids=["byte level", "byte fallback"])
@pytest.mark.parametrize("silent", range(12))
@pytest.mark.parametrize("lone", range(12))
def test_a_character_is_whole_whatever_came_before_and_amid_it(
    tokenizer: PreTrainedTokenizerFast, silent: int, lone: int
) -> None:
    emoji = tokenizer.encode("😀", add_special_tokens=False)
    special = next(iter(tokenizer.get_added_vocab().values()))
    rest = tokenizer.encode("b", add_special_tokens=False)
    detokenizer = Detokenizer(tokenizer)
    tokens = [
        *rest,
        *emoji,
        *[special] * silent,
        *emoji[:1] * lone,
        *rest,
        *emoji[:2],
        *[special] * silent,
        *emoji[2:],
        *rest,
    ]
    text = "".join(map(detokenizer.feed, tokens)) + detokenizer.flush()
    assert text == "b😀" + "�" * lone + "b😀b"


@pytest.mark.parametrize("lone", range(5))
def test_bytes_that_are_no_character_spoil_none_that_begins_behind_them(lone: int) -> None:
    emoji = TOKENIZER.encode("😀", add_special_tokens=False)
    detokenizer = Detokenizer(TOKENIZER)
    assert "".join(map(detokenizer.feed, [*emoji[:1] * (5 + lone), *emoji])) == "�" * (5 + lone) + "😀"


def test_a_stop_string_that_half_a_character_completes_is_not_shown() -> None:
    detokenizer = Detokenizer(BYTES, ("a�",))
    assert [detokenizer.feed(BYTES.get_vocab()[token]) for token in ("b", "a", "<0xF0>")] == ["b", "", ""]
    assert (detokenizer.flush(), detokenizer.stopped) == ("", True)


def test_half_a_character_behind_a_stop_string_is_not_shown() -> None:
    detokenizer = Detokenizer(BYTES, ("�" * (PENDING_TOKENS - BEGUN_TOKENS),))
    byte = BYTES.get_vocab()["<0xF0>"]
    # Those that are given up are the stop string; the last may begin a character yet.
    assert "".join(detokenizer.feed(byte) for _ in range(PENDING_TOKENS)) == ""
    assert (detokenizer.stopped, detokenizer.flush()) == (True, "")


def test_behind_any_number_of_tokens_without_text_a_word_keeps_its_space() -> None:
    for count in range(20):
        assert "".join(spoken("▁Hello", *["<s>"] * count, "▁world")) == "Hello world"


def continued(*before: str) -> str:
    """The text of "▁world" behind these of BYTES."""
    vocabulary = BYTES.get_vocab()
    return Detokenizer(BYTES, before=[vocabulary[token] for token in before]).feed(vocabulary["▁world"])


@pytest.mark.parametrize(
    "before", [["▁Hello"], ["<s>", "▁Hello"], ["a"] * 40, ["<0x0A>"], ["<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "b"]]
)
def test_a_text_that_is_continued_keeps_the_space_behind_it(before: list[str]) -> None:
    assert continued(*before) == " world"


@pytest.mark.parametrize("before", [[], ["<s>"], ["▁Hello", "<s>"]])
def test_a_text_that_begins_has_no_space_before_it(before: list[str]) -> None:
    assert continued(*before) == "world"


@pytest.mark.parametrize("tokenizer", [TOKENIZER, BYTES], ids=["byte level", "byte fallback"])
@given(data=st.data())
def test_nothing_of_what_is_continued_comes_again(tokenizer: PreTrainedTokenizerFast, data: st.DataObject) -> None:
    before = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=12))
    detokenizer = Detokenizer(tokenizer, before=before)
    text = "".join(map(detokenizer.feed, tokenizer.encode("ab😀", add_special_tokens=False))) + detokenizer.flush()
    assert text == "ab😀"


def test_tokens_without_text_are_not_decoded_again_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    class Counted:
        """A stream that keeps count of what it holds at each step."""

        def __init__(self, ids: list[int], skip_special_tokens: bool) -> None:
            self._stream = DecodeStream(ids, skip_special_tokens)
            self._held = len(ids)

        def step(self, backend: Tokenizer, token: int) -> str | None:
            self._held += 1
            decoded.append(self._held)
            return self._stream.step(backend, token)

    monkeypatch.setattr(detokenizer_module, "DecodeStream", Counted)
    spoken("▁Hello", *["<s>"] * 200)
    assert max(decoded) < 20
