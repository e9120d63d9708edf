"""Turns tokens into text as they come, and finds stop strings in it."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerBase

# A character has four bytes, and so four tokens at most; another may have been begun before it and left. Held without
# bound, what never becomes a character would be decoded whole at every token, as would tokens without text: 16,000 of
# them took half a minute.
PENDING_TOKENS = 8


class Detokenizer:
    """Text of one sequence's output. Holds back an incomplete character, and what may begin a stop string. Bytes that
    are no character become replacement characters.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str] = ()) -> None:
        # The Rust tokenizer under transformers' own: its DecodeStream never splits a character.
        self._backend = tokenizer.backend_tokenizer
        self._stream = DecodeStream([], skip_special_tokens=True)
        self._pending: list[int] = []  # tokens whose text has not come yet
        self._behind: list[int] = []  # the last whose text has
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False

    def feed(self, token: int) -> str:
        """Text that is certain after this token. Sets `stopped` when a stop string is complete: the text ends
        before it.
        """
        piece = self._piece(token)
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

    def flush(self) -> str:
        """What was held back for a stop string that did not come, and for a character."""
        held, self._held = self._held + self._pending_text(), ""
        return held

    def _piece(self, token: int) -> str:
        """The text that `token` completes."""
        self._pending.append(token)
        try:
            piece = self._stream.step(self._backend, token)
        except Exception:  # tokenizers raises nothing narrower
            # Of tokens that stand for a byte each, one that is no character also spoils the one before, which had come
            # already ("Invalid prefix encountered"): what has come stays, and the stream begins anew behind it.
            return self._pending_text()
        if piece is None and len(self._pending) >= PENDING_TOKENS:
            return self._pending_text()
        if piece:
            self._pending, self._behind = [], [token]
        return piece or ""

    def _pending_text(self) -> str:
        """The text of what is pending as it is; a new stream goes on behind it."""
        text = str(self._backend.decode(self._pending, skip_special_tokens=True))
        # Behind nothing some decoders drop a space; behind a lone byte its text would come once more.
        if text and not text.endswith("\N{REPLACEMENT CHARACTER}"):
            self._behind = self._pending[-1:]
        self._pending = []
        self._stream = DecodeStream(self._behind, skip_special_tokens=True)
        return text

    def _may_begin_stop(self, text: str) -> int:
        """Length of the longest end of `text` with which a stop string begins."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop):
                return length
        return 0
