"""The keys and values of one sequence: a table of blocks of the pool."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

from outrider_serving.engine.kv_pool import BLOCK_TOKENS, KVPool, blocks_for

# A prefix of so many blocks or fewer, such as a template's first words, is copied and not shared. Shared it would stand
# apart from the rest, and every layer of every step would attend to two places: 40 µs each, on a CPU.
COPIED_BLOCKS = 8


class SequenceKV:
    """Rows of keys and values: first the committed prefix, one row a token, then the rows of a tree.

    Keys are stored after RoPE at their absolute position, so a row can move without being computed anew.
    """

    def __init__(self, pool: KVPool) -> None:
        self.pool = pool
        self.length = 0
        self._blocks: list[int] = []
        self._hashes: list[bytes] = []
        self._published = 0

    @property
    def blocks(self) -> Sequence[int]:
        return self._blocks

    @property
    def capacity(self) -> int:
        """Rows in the blocks held."""
        return len(self._blocks) * BLOCK_TOKENS

    def blocks_missing(self, rows: int) -> int:
        """Blocks that `rows` more would take from the pool."""
        return max(0, blocks_for(self.length + rows) - len(self._blocks))

    def rows_with(self, blocks: int) -> int:
        """Rows that `blocks` more have room for."""
        return self.capacity + blocks * BLOCK_TOKENS - self.length

    def reserve(self, rows: int) -> None:
        """Makes room for `rows` more. Raises PoolExhausted when the pool has none."""
        missing = self.blocks_missing(rows)
        if missing:
            self._blocks += self.pool.allocate(missing, after=self._blocks[-1] if self._blocks else None)

    def advance(self, rows: int) -> None:
        """The next `rows` have been written by every layer."""
        self.length += rows

    def runs(self, first: int, end: int) -> list[tuple[int, int]]:
        """Rows `first` to `end` as ranges of the pool's rows: one or two, while the pool is not crowded."""
        found: list[tuple[int, int]] = []
        for index in range(first // BLOCK_TOKENS, blocks_for(end)):
            start = self._blocks[index] * BLOCK_TOKENS
            low = start + max(0, first - index * BLOCK_TOKENS)
            high = start + min(BLOCK_TOKENS, end - index * BLOCK_TOKENS)
            if found and found[-1][1] == low:
                found[-1] = (found[-1][0], high)
            else:
                found.append((low, high))
        return found

    def slots(self, rows: Sequence[int]) -> list[int]:
        """Where in the pool these rows are."""
        return [self._blocks[row // BLOCK_TOKENS] * BLOCK_TOKENS + row % BLOCK_TOKENS for row in rows]

    def compact(self, prefix: int, rows: Sequence[int]) -> None:
        """Keeps the first `prefix` rows and then just `rows`, in that order; the others are forgotten, and blocks
        without a row go back to the pool.
        """
        kept = list(rows)
        end = prefix + len(kept)
        if end < self._published * BLOCK_TOKENS:
            raise AssertionError("rows that others may share cannot be taken back")
        if kept != list(range(prefix, end)):
            self.pool.move(self.slots(kept), self.slots(range(prefix, end)))
        self.length = end
        used = blocks_for(end)
        if used < len(self._blocks):
            self.pool.release(self._blocks[used:])
            del self._blocks[used:]

    def free(self) -> None:
        """Gives all blocks back. The sequence can be read anew from its tokens."""
        self.pool.release(self._blocks)
        self._blocks = []
        self.length = self._published = 0

    def discard(self) -> None:
        """As `free`, where the rows may be no numbers: nobody is to read them again."""
        self.pool.discard(self._blocks)
        self._blocks = []
        self.free()

    def free_unproved(self) -> None:
        """As `free`, where no logits have come yet of what was read: they would have shown rows that are no numbers."""
        if self.pool.are_numbers(self._blocks):
            self.free()
        else:
            self.discard()

    def __del__(self) -> None:
        self.free()

    def share(self, tokens: Sequence[int]) -> int:
        """Takes over, of a sequence that has no rows yet, the blocks of its longest prefix that the pool still has.
        Returns how many tokens. The last token is left out: its row gives the logits of the next.
        """
        if self._blocks:
            raise AssertionError("only a sequence without rows takes over a prefix")
        for key in self._keys(tokens, (len(tokens) - 1) // BLOCK_TOKENS):
            block = self.pool.shared(key)
            if block is None:
                break
            self._blocks.append(block)
        self.length = self.capacity
        self._published = len(self._blocks)
        if 0 < len(self._blocks) <= min(COPIED_BLOCKS, self.pool.available):
            self._copy()
        return self.length

    def _copy(self) -> None:
        """Puts shared blocks' rows into blocks of its own, behind which there is room for more."""
        shared = self.slots(range(self.length))
        blocks, self._blocks = self._blocks, self.pool.allocate(len(self._blocks))
        self.pool.move(shared, self.slots(range(self.length)))
        self.pool.release(blocks)

    def publish(self, tokens: Sequence[int]) -> None:
        """Lets others share the full blocks, whose rows are those of committed `tokens`, in order."""
        full = min(self.length, len(tokens)) // BLOCK_TOKENS
        if full > self._published:
            keys = self._keys(tokens, full)
            for index in range(self._published, full):
                self.pool.publish(self._blocks[index], keys[index])
            self._published = full

    def _keys(self, tokens: Sequence[int], blocks: int) -> list[bytes]:
        """Each block's hash: of its tokens and of all before it. Tokens are only ever appended, so they stand."""
        for index in range(len(self._hashes), blocks):
            content = array("q", tokens[index * BLOCK_TOKENS : (index + 1) * BLOCK_TOKENS]).tobytes()
            before = self._hashes[-1] if self._hashes else b""
            self._hashes.append(hashlib.blake2b(before + content, digest_size=16).digest())
        return self._hashes[:blocks]
