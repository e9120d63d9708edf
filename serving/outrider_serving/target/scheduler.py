"""Who runs: the sequences that hold a place and KV blocks, those that wait for them, and which prompt tokens a step
reads.
"""

from __future__ import annotations

from collections import deque

from outrider_serving.engine.rows import Rows
from outrider_serving.engine.tree import Tree
from outrider_serving.target.sequence import Sequence


class Scheduler:
    """No forward and no draft: what it decides, the step does.

    Whoever came first goes first: those who run are older than those who wait, the youngest gives its blocks up when
    they run out, and the oldest always fits, because no request is taken in that the whole pool could not hold.
    """

    def __init__(self, max_num_seqs: int, max_batched_tokens: int = 512) -> None:
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self.max_num_seqs = max_num_seqs
        self.max_batched_tokens = max_batched_tokens

    @property
    def idle(self) -> bool:
        return not (self.running or self.waiting)

    @property
    def decoding(self) -> list[Sequence]:
        return [sequence for sequence in self.running if sequence.decoding]

    def add(self, sequence: Sequence) -> None:
        """A request has arrived."""
        self.waiting.append(sequence)

    def drop_finished(self) -> list[Sequence]:
        """Takes out what has ended or was cancelled, and frees its blocks; gives those that ran."""
        dropped = [sequence for sequence in self.running if sequence.finished]
        for sequence in dropped:
            _free(sequence)
        self.running = [sequence for sequence in self.running if not sequence.finished]
        self.waiting = deque(sequence for sequence in self.waiting if not sequence.finished)
        return dropped

    def admit(self) -> list[Sequence]:
        """Moves those who wait into the places that are free, first come first, while there are blocks for all their
        tokens and one more for each that runs; gives them. What the pool still has of their tokens need not be read.
        """
        admitted = []
        while self.waiting and len(self.running) < self.max_num_seqs:
            sequence = self.waiting[0]
            kv = sequence.kv
            kv.share(sequence.tokens)
            rows = len(sequence.tokens) - kv.length
            if kv.blocks_missing(rows) + len(self.running) > kv.pool.available:
                kv.free()
                break
            kv.reserve(rows)
            admitted.append(self.waiting.popleft())
            self.running.append(sequence)
        return admitted

    def make_room(self) -> list[Sequence]:
        """Sees to it that each decoding sequence has a block for its next row: while the pool has too few, the
        youngest gives its own back and waits, first in the queue, to read its tokens anew. Gives those.
        """
        preempted = []
        while sum(sequence.kv.blocks_missing(1) for sequence in self.decoding) > self._available:
            youngest = max(self.running, key=lambda sequence: sequence.id)
            self.running.remove(youngest)
            _free(youngest)
            self.waiting.appendleft(youngest)
            preempted.append(youngest)
        return preempted

    @property
    def _available(self) -> int:
        """Blocks that can be had; of all sequences, since they share one pool."""
        return self.running[0].kv.pool.available if self.running else 0

    def fitting(self, decoding: list[Sequence], trees: list[Tree]) -> list[Tree]:
        """The trees as far as there are blocks for their nodes. Every root has its place, see `make_room`."""
        spare = self._available - sum(sequence.kv.blocks_missing(1) for sequence in decoding)
        fitting = []
        for sequence, tree in zip(decoding, trees, strict=True):
            kv = sequence.kv
            more = kv.blocks_missing(1 + len(tree)) - kv.blocks_missing(1)
            if more > spare:
                # A parent comes before its children: the first nodes are a tree.
                tree = tree.keep(range(kv.rows_with(kv.blocks_missing(1) + spare) - 1))
                more = spare
            spare -= more
            fitting.append(tree)
        return fitting

    def prompt_rows(self, room: int) -> dict[Sequence, Rows]:
        """Chunks of the prompts that are not in the cache yet, first come first, `room` tokens at most."""
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


def _free(sequence: Sequence) -> None:
    """Gives its blocks back. One that is still reading has given no logits since it began to."""
    if sequence.decoding or sequence.finish_reason is not None:
        sequence.kv.free()
    else:
        sequence.kv.free_unproved()
