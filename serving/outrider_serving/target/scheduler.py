"""Who runs: the sequences that hold a place, those that wait for one, and which prompt tokens a step reads."""

from __future__ import annotations

from collections import deque

from outrider_serving.engine.attention import Rows
from outrider_serving.target.sequence import Sequence


class Scheduler:
    """No forward and no draft: what it decides, the step does."""

    def __init__(self, max_num_seqs: int, max_batched_tokens: int = 512) -> None:
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self._max_num_seqs = max_num_seqs
        self._max_batched_tokens = max_batched_tokens

    @property
    def idle(self) -> bool:
        return not (self.running or self.waiting)

    @property
    def decoding(self) -> list[Sequence]:
        return [sequence for sequence in self.running if sequence.decoding]

    @property
    def kv_rows(self) -> int:
        return sum(sequence.kv.length for sequence in self.running)

    def add(self, sequence: Sequence) -> None:
        """A request has arrived."""
        self.waiting.append(sequence)

    def drop_finished(self) -> list[Sequence]:
        """Takes out what has ended or was cancelled; gives those that ran."""
        dropped = [sequence for sequence in self.running if sequence.finished]
        self.running = [sequence for sequence in self.running if not sequence.finished]
        self.waiting = deque(sequence for sequence in self.waiting if not sequence.finished)
        return dropped

    def admit(self) -> list[Sequence]:
        """Moves those who wait into the places that are free, first come first; gives them."""
        admitted = []
        while self.waiting and len(self.running) < self._max_num_seqs:
            admitted.append(self.waiting.popleft())
            self.running.append(admitted[-1])
        return admitted

    def prompt_rows(self, decode_rows: int) -> dict[Sequence, Rows]:
        """Chunks of the prompts that are not in the cache yet, first come first, as many tokens as the step's
        budget leaves beside `decode_rows`.
        """
        room = self._max_batched_tokens - decode_rows
        batch: dict[Sequence, Rows] = {}
        for sequence in self.running:
            if sequence.decoding or room <= 0:
                continue
            start = sequence.kv.length
            chunk = sequence.tokens[start : start + room]
            last = start + len(chunk) == len(sequence.tokens)
            batch[sequence] = Rows(
                kv=sequence.kv,
                tokens=chunk,
                positions=range(start, start + len(chunk)),
                logits_from=len(chunk) - 1 if last else len(chunk),
            )
            room -= len(chunk)
        return batch
