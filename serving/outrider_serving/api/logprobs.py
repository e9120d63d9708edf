"""Log probabilities as OpenAI's two routes word them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from outrider_serving.engine.logprobs import TokenLogprob

LEAST = -9999.0  # what OpenAI and vLLM say for a token that cannot come; JSON has no infinity
BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
Json = dict[str, Any]


class TokenText(NamedTuple):
    """A token as bytes, and as text; half a character is a replacement character there."""

    text: str
    bytes: bytes


class TokenTexts:
    """What each token of a vocabulary stands for. Looked up once for each that is seen."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._byte_of = _byte_alphabet() if "ByteLevel" in repr(tokenizer.backend_tokenizer.decoder) else {}
        self._known: dict[int, TokenText] = {}

    def __getitem__(self, token: int) -> TokenText:
        if token not in self._known:
            raw = self._bytes(token)
            self._known[token] = TokenText(raw.decode("utf-8", errors="replace"), raw)
        return self._known[token]

    def _bytes(self, token: int) -> bytes:
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:  # a padded vocabulary has rows that no token has
            return b""
        text = str(piece)
        if text and all(char in self._byte_of for char in text):
            return bytes(self._byte_of[char] for char in text)
        single = BYTE_PIECE.fullmatch(text)
        return bytes([int(single[1], 16)]) if single else text.replace("\u2581", " ").encode()


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's: a printable character stands for its own byte, the 68 others follow from U+0100 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


def chat_logprobs(entries: Sequence[TokenLogprob], texts: TokenTexts) -> Json:
    content = [
        _entry(entry.token, entry.logprob, texts)
        | {"top_logprobs": [_entry(token, logprob, texts) for token, logprob in entry.top]}
        for entry in entries
    ]
    return {"content": content, "refusal": None}


def _entry(token: int, logprob: float, texts: TokenTexts) -> Json:
    text = texts[token]
    return {"token": text.text, "logprob": max(logprob, LEAST), "bytes": list(text.bytes)}


def completion_logprobs(entries: Sequence[TokenLogprob], texts: TokenTexts, offset: int) -> Json:
    """`offset`: how much text the tokens before these stand for."""
    tokens = [texts[entry.token].text for entry in entries]
    *offsets, _ = accumulate(map(len, tokens), initial=offset)
    return {
        "tokens": tokens,
        "token_logprobs": [max(entry.logprob, LEAST) for entry in entries],
        "top_logprobs": [_alternatives(entry, texts) for entry in entries] if any(e.top for e in entries) else None,
        "text_offset": offsets,
    }


def _alternatives(entry: TokenLogprob, texts: TokenTexts) -> dict[str, float]:
    """The likeliest ones, and the token itself where it is not among them.

    Of several with one text, as halves of characters have, the likeliest is said, or the token itself.
    """
    alternatives: dict[str, float] = {}
    for token, logprob in entry.top:
        alternatives.setdefault(texts[token].text, max(logprob, LEAST))
    return alternatives | {texts[entry.token].text: max(entry.logprob, LEAST)}
