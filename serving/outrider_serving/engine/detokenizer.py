"""Turns tokens into text as they come, and finds stop strings in it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile

from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerBase

# What may have begun a character: it has four bytes, and so four tokens at most.
BEGUN_TOKENS = 3
# Held without bound, what never becomes a character would be decoded whole at every token: 16,000 took two minutes.
PENDING_TOKENS = 8


class Detokenizer:
    """Text of one sequence's output. Holds back an incomplete character, and what may begin a stop string. Bytes that
    are no character become replacement characters.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str] = (), before: Sequence[int] = ()
    ) -> None:
        """before: tokens whose text the output's goes on; without them it is a text of its own."""
        # The Rust tokenizer under transformers' own: its DecodeStream never splits a character.
        self._backend = tokenizer.backend_tokenizer
        self._without_text = special_tokens(tokenizer)
        self._pending: list[int] = []  # tokens whose text has not come yet
        self._behind = self._last_text(before)  # those whose text came last
        self._stream = DecodeStream(self._behind, skip_special_tokens=True)
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False

    def feed(self, token: int) -> str:
        """Text that is certain after this token. Sets `stopped` when a stop string is complete: the text ends
        before it.
        """
        return self._certain(self._piece(token))

    def flush(self) -> str:
        """At the end: what was held back for a stop string that did not come, and for a character. May set `stopped`,
        as `feed`. Nothing, if a stop string has come already.
        """
        if self.stopped:
            return ""
        text = self._certain(self._given_up(len(self._pending)))
        held, self._held = self._held, ""
        return text + held

    def _last_text(self, before: Sequence[int]) -> list[int]:
        """The last tokens of `before`, if they are a text that ends with a character."""
        reverse = takewhile(lambda token: token not in self._without_text, before[: -PENDING_TOKENS - 1 : -1])
        tokens = list(reverse)[::-1]
        return tokens if _ends_whole(self._backend.decode(tokens, skip_special_tokens=True)) else []

    def _certain(self, piece: str) -> str:
        if not piece:
            return ""
        text = self._held + piece
        found = [index for index in (text.find(stop) for stop in self._stop) if index >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return text[: min(found)]
        hold = self._may_begin_stop(text)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]

    def _piece(self, token: int) -> str:
        """The text that `token` completes."""
        if token in self._without_text:
            return ""
        self._pending.append(token)
        try:
            piece = self._stream.step(self._backend, token)
        except Exception:  # tokenizers raises nothing narrower
            # Of tokens that stand for a byte each, one that is no character also spoils the one before, which had come
            # already ("Invalid prefix encountered"): what has come stays, and the stream begins anew behind it.
            return self._given_up(len(self._pending))
        if piece:
            self._behind, self._pending = self._pending, []
            return piece
        if len(self._pending) >= PENDING_TOKENS:
            return self._given_up(len(self._pending) - BEGUN_TOKENS)
        return ""

    def _given_up(self, count: int) -> str:
        """The text of the first `count` tokens that are pending, as it is; a new stream goes on behind them."""
        tokens, rest = self._pending[:count], self._pending[count:]
        text = str(self._backend.decode(tokens, skip_special_tokens=True))
        # Behind nothing some decoders drop a space; behind a lone byte its text would come once more.
        if _ends_whole(text):
            self._behind = tokens
        self._stream, self._pending = DecodeStream(self._behind, skip_special_tokens=True), []
        return text + "".join(map(self._piece, rest))

    def _may_begin_stop(self, text: str) -> int:
        """Length of the longest end of `text` with which a stop string begins."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop):
                return length
        return 0


def _ends_whole(text: str) -> bool:
    return bool(text) and not text.endswith("\N{REPLACEMENT CHARACTER}")


@lru_cache(maxsize=4)
def special_tokens(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Those without a text. A stream would keep them until a text comes, and decode all at every token: 16,000 took
    half a minute.
    """
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    return frozenset(index for index, token in added.items() if token.special)
