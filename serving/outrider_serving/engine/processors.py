"""What a request asks to be done to the logits before they are probabilities: bias, penalties, tokens that may not
come yet. Sparse: only tokens that came, or have a bias, are touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from outrider_serving.engine.sampling import Sampling

FIRST_CAPACITY = 64


@dataclass(frozen=True)
class Table:
    """For each of `tokens` (int64 [n]) its logit becomes penalised(logit + bias) - offset; `terms` float32 [3, n]:
    bias, repetition penalty, offset.
    """

    tokens: NDArray[np.int64]
    terms: NDArray[np.float32]


@dataclass(frozen=True)
class Edits:
    """All that changes in one row. `path` stands over `base` where both name a token; `banned` over both.

    Valid until its sequence grows: `base` is the sequence's own.
    """

    base: Table
    path: Table
    banned: tuple[int, ...]


class History:
    """How often each token of a sequence came, as far as its sampling wants to know. Filled by commits."""

    def __init__(self, sampling: Sampling, tokens: Sequence[int], prompt_tokens: int, vocabulary_size: int) -> None:
        """`tokens` is prompt and output so far; the first `prompt_tokens` of them are the prompt."""
        self._sampling = sampling
        self._slots: dict[int, int] = {}
        self._tokens = np.zeros(FIRST_CAPACITY, dtype=np.int64)
        self._terms = np.zeros((3, FIRST_CAPACITY), dtype=np.float32)
        self._counts: Counter[int] = Counter()
        self._output_tokens = 0
        # A draft's vocabulary may be padded less than its target's.
        self._ends = tuple(token for token in sampling.end_tokens if token < vocabulary_size)
        for token, bias in sampling.logit_bias:
            if token < vocabulary_size:
                slot = self._slot(token)  # may replace the table by a larger one
                self._terms[0, slot] = bias
        for token in tokens[:prompt_tokens]:
            self._seen(token)
        self.extend(tokens[prompt_tokens:])

    def extend(self, tokens: Sequence[int]) -> None:
        """Output that is committed."""
        self._output_tokens += len(tokens)
        self._counts.update(tokens)
        for token in tokens:
            self._seen(token)
            if token in self._slots:
                self._terms[2, self._slots[token]] = self._offset(self._counts[token])

    def edits(self, path: Sequence[int] = ()) -> Edits:
        """What changes in the row after the committed tokens and those of a tree's `path`."""
        used = len(self._slots)
        early = self._output_tokens + len(path) < self._sampling.min_tokens
        return Edits(Table(self._tokens[:used], self._terms[:, :used]), self._path(path), self._ends if early else ())

    def _path(self, path: Sequence[int]) -> Table:
        counts = Counter(path) if self._penalises else Counter[int]()
        terms = np.zeros((3, len(counts)), dtype=np.float32)
        for column, (token, count) in enumerate(counts.items()):
            slot = self._slots.get(token)
            bias = 0.0 if slot is None else self._terms[0, slot]
            terms[:, column] = bias, self._sampling.repetition_penalty, self._offset(self._counts[token] + count)
        return Table(np.fromiter(counts, dtype=np.int64, count=len(counts)), terms)

    @property
    def _penalises(self) -> bool:
        sampling = self._sampling
        return bool(sampling.presence_penalty or sampling.frequency_penalty or sampling.repetition_penalty != 1)

    def _offset(self, count: int) -> float:
        return self._sampling.frequency_penalty * count + self._sampling.presence_penalty

    def _seen(self, token: int) -> None:
        """In prompt or output."""
        if self._penalises:
            slot = self._slot(token)  # may replace the table by a larger one
            self._terms[1, slot] = self._sampling.repetition_penalty

    def _slot(self, token: int) -> int:
        slot = self._slots.setdefault(token, len(self._slots))
        if slot == self._tokens.shape[0]:
            self._tokens = np.concatenate([self._tokens, np.zeros_like(self._tokens)])
            self._terms = np.concatenate([self._terms, np.zeros_like(self._terms)], axis=1)
        if slot == len(self._slots) - 1 and self._terms[1, slot] == 0:
            self._tokens[slot] = token
            self._terms[1, slot] = 1.0
        return slot


def edited(logits: torch.Tensor, edits: Sequence[Edits | None]) -> torch.Tensor:
    """A copy of `logits` (float32 [rows, vocabulary]) with each row's edits made, or `logits` where there are none."""
    if all(row is None for row in edits):
        return logits
    changed = logits.clone()
    rows = [(index, row) for index, row in enumerate(edits) if row is not None]
    for tables in ([(index, row.base) for index, row in rows], [(index, row.path) for index, row in rows]):
        tokens = np.concatenate([table.tokens for _, table in tables])
        if len(tokens):
            at = (_rows([(index, len(table.tokens)) for index, table in tables], logits), _moved(tokens, logits))
            terms = _moved(np.concatenate([table.terms for _, table in tables], axis=1), logits)
            changed[at] = _penalised(logits[at], terms)
    banned = np.asarray([token for _, row in rows for token in row.banned], dtype=np.int64)
    if len(banned):
        at = (_rows([(index, len(row.banned)) for index, row in rows], logits), _moved(banned, logits))
        changed[at] = -torch.inf
    return changed


def _penalised(values: torch.Tensor, terms: torch.Tensor) -> torch.Tensor:
    bias, repetition, offset = terms
    biased = values + bias
    penalised: torch.Tensor = torch.where(biased > 0, biased / repetition, biased * repetition) - offset
    return penalised


def _rows(counts: Sequence[tuple[int, int]], like: torch.Tensor) -> torch.Tensor:
    return _moved(np.concatenate([np.full(count, index, dtype=np.int64) for index, count in counts]), like)


def _moved(array: NDArray[np.int64] | NDArray[np.float32], like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(array).to(like.device, non_blocking=True)
