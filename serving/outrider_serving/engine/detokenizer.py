"""Turns tokens into text as they come, and finds stop strings in it."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerBase


class Detokenizer:
    """Text of one sequence's output. Holds back an incomplete character, and what may begin a stop string."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str] = ()) -> None:
        # The Rust tokenizer under transformers' own: its DecodeStream never splits a character.
        self._backend = tokenizer.backend_tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False

    def feed(self, token: int) -> str:
        """Text that is certain after this token. Sets `stopped` when a stop string is complete: the text ends
        before it.
        """
        piece = self._stream.step(self._backend, token)
        if piece is None:
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
        """What was held back for a stop string that did not come."""
        held, self._held = self._held, ""
        return held

    def _may_begin_stop(self, text: str) -> int:
        """Length of the longest end of `text` with which a stop string begins."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop):
                return length
        return 0
