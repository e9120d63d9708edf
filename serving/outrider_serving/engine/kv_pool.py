"""The memory of all sequences' keys and values: two tensors, taken once, handed out in blocks of rows.

Rows of a layer and a head lie side by side, so that blocks in physical order are one view and attention reads them
without a copy. The allocator therefore prefers the block behind a sequence's last one, and starts a new sequence
where the largest room is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

# Attention reads runs of blocks, so a small block costs it nothing; it wastes half a block a sequence, and a prompt
# that repeats another's beginning shares all of it but 15 tokens at most.
BLOCK_TOKENS = 16
# Evicted at once when no room is left, so that the room that comes free is a run and not single blocks.
EVICTED_SHARE = 16


@dataclass(frozen=True)
class KVShape:
    """What one row (one token) of a model's KV cache is made of."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    @property
    def row_bytes(self) -> int:
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype.itemsize

    @property
    def block_bytes(self) -> int:
        return BLOCK_TOKENS * self.row_bytes


class PoolExhausted(RuntimeError):
    """More blocks were wanted than can be had. Whoever plans a forward makes room before."""


def blocks_for(rows: int) -> int:
    """The blocks that so many rows lie in."""
    return -(-rows // BLOCK_TOKENS)


class KVPool:
    """keys, values: one tensor a layer, [kv_heads, blocks * BLOCK_TOKENS, head_dim].

    A block is referenced (by one sequence, or by several that share a prefix), cached (by nobody, but its content is
    known by its hash and may be asked for again), or free. Only full blocks of committed tokens have a hash, and those
    are never written again: sharing needs no copy on write.

    The memory is zeroed at once: it is the process's from the start, so that resident memory does not grow while
    serving, and a machine that has too little says so before the first request.
    """

    def __init__(self, shape: KVShape, blocks: int) -> None:
        self.shape = shape
        self.blocks = blocks
        size = (shape.layers, shape.kv_heads, blocks * BLOCK_TOKENS, shape.head_dim)
        self.all_keys = torch.zeros(size, dtype=shape.dtype, device=shape.device)
        self.all_values = torch.zeros(size, dtype=shape.dtype, device=shape.device)
        self.keys = self.all_keys.unbind(0)
        self.values = self.all_values.unbind(0)
        self._references = [0] * blocks
        self._free = np.ones(blocks, dtype=np.bool_)
        self._free_count = blocks
        self._cached: OrderedDict[int, None] = OrderedDict()  # least recently used first
        self._block_of: dict[bytes, int] = {}
        self._hash_of: dict[int, bytes] = {}

    @property
    def available(self) -> int:
        """Blocks that can be had: the free ones, and the cached ones, which then are no longer."""
        return self._free_count + len(self._cached)

    @property
    def referenced(self) -> int:
        return self.blocks - self.available

    @property
    def usage(self) -> float:
        """Share of the blocks that sequences hold, 0 to 1."""
        return self.referenced / self.blocks

    def allocate(self, count: int, after: int | None = None) -> list[int]:
        """`count` blocks, referenced once; in one run with block `after` if that can be. Raises PoolExhausted, and
        then has taken none.
        """
        if count > self.available:
            raise PoolExhausted(f"{count} KV blocks wanted and {self.available} of {self.blocks} left")
        taken: list[int] = []
        while len(taken) < count:
            follows = after is not None and after + 1 < self.blocks and self._free[after + 1]
            block = after + 1 if after is not None and follows else self._start(count - len(taken))
            self._free[block] = False
            self._free_count -= 1
            self._references[block] = 1
            taken.append(block)
            after = block
        return taken

    def _start(self, wanted: int) -> int:
        """Where a run of `wanted` blocks, and more later, has the most room. Behind another sequence it starts in the
        middle of the room, so that both can grow.
        """
        first, length = self._largest_room()
        if length < wanted and self._cached:
            self._evict(max(wanted - length, self.blocks // EVICTED_SHARE))
            first, length = self._largest_room()
        follows_another = first > 0 and self._references[first - 1] > 0
        return first + max(0, length - wanted) // 2 if follows_another else first

    def _largest_room(self) -> tuple[int, int]:
        edges = np.flatnonzero(np.diff(self._free.view(np.int8), prepend=0, append=0))
        if not len(edges):
            return 0, 0
        starts, ends = edges[::2], edges[1::2]
        largest = int(np.argmax(ends - starts))
        return int(starts[largest]), int(ends[largest] - starts[largest])

    def _evict(self, count: int) -> None:
        for _ in range(min(count, len(self._cached))):
            block, _ = self._cached.popitem(last=False)
            del self._block_of[self._hash_of.pop(block)]
            self._free[block] = True
            self._free_count += 1

    def release(self, blocks: Sequence[int]) -> None:
        """Takes back one reference to each of a sequence's blocks, the last first: a prefix is worth more than what
        follows it, so it is to be evicted later.
        """
        for block in reversed(blocks):
            if self._references[block] < 1:
                raise AssertionError(f"KV block {block} released more often than taken")
            self._references[block] -= 1
            if self._references[block]:
                continue
            if block in self._hash_of:
                self._cached[block] = None
            else:
                self._free[block] = True
                self._free_count += 1

    def discard(self, blocks: Sequence[int]) -> None:
        """Takes them back as `release`, of a sequence whose rows may be no numbers: what nobody else holds is asked for
        no more, and zeroed. Rows behind a sequence's own are read along in places, and NaN is seen through every mask.
        """
        own = [block for block in blocks if self._references[block] == 1]
        for block in own:
            if (key := self._hash_of.pop(block, None)) is not None:
                del self._block_of[key]
        if own:
            self.clear(own)
        self.release(blocks)

    def are_numbers(self, blocks: Sequence[int]) -> bool:
        """Whether all rows of `blocks` are: what is none in one layer is none in those behind it. Not looked at on a
        device, which would be waited for: there no sequence's rows are read along with another's.
        """
        if self.shape.device.type != "cpu" or not blocks:
            return True
        return bool(self._in_blocks(self.keys[-1][None])[:, :, list(blocks)].isfinite().all())

    def clear(self, blocks: list[int]) -> None:
        """Zeroes their rows, of all layers."""
        for memory in (self.all_keys, self.all_values):
            self._in_blocks(memory)[:, :, blocks] = 0

    @staticmethod
    def _in_blocks(memory: torch.Tensor) -> torch.Tensor:
        """A view [layers, kv_heads, blocks, BLOCK_TOKENS, head_dim]."""
        layers, heads, _, head_dim = memory.shape
        return memory.view(layers, heads, -1, BLOCK_TOKENS, head_dim)

    def shared(self, key: bytes) -> int | None:
        """The block that holds the content with this hash, referenced once more; None if there is none."""
        block = self._block_of.get(key)
        if block is not None:
            self._references[block] += 1
            self._cached.pop(block, None)
        return block

    def move(self, source: list[int], target: list[int]) -> None:
        """Copies rows of all layers; the places may overlap."""
        sources = torch.tensor(source, device=self.shape.device)
        targets = torch.tensor(target, device=self.shape.device)
        for memory in (self.all_keys, self.all_values):
            memory.index_copy_(2, targets, memory.index_select(2, sources))

    def publish(self, block: int, key: bytes) -> None:
        """A referenced block is full and will not change: from now on others may share it. Of two blocks of the same
        content the first is known.
        """
        if key not in self._block_of and block not in self._hash_of:
            self._block_of[key] = block
            self._hash_of[block] = key
