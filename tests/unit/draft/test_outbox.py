"""A stream that reads slowly is told less, and newer."""

from __future__ import annotations

import asyncio

from outrider_serving.draft.outbox import MOST_REJECTS, Outbox
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb


def tree(sequence: int, base_position: int) -> pb.DraftMessage:
    return pb.DraftMessage(tree=[pb.Tree(sequence=sequence, epoch=1, base_position=base_position)])


async def test_later_trees_take_the_place_of_those_that_were_not_read() -> None:
    outbox = Outbox()
    for level in range(1, 1000):
        outbox.put(tree(1, level))
        outbox.put(tree(2, 2 * level))
    message = await outbox.get()
    assert message is not None
    assert {(one.sequence, one.base_position) for one in message.tree} == {(1, 999), (2, 1998)}


async def test_a_reject_takes_the_place_of_the_tree_and_rejects_are_bounded() -> None:
    outbox = Outbox()
    outbox.put(tree(7, 3))
    for sequence in range(2 * MOST_REJECTS):
        outbox.put(pb.DraftMessage(reject=[pb.Reject(sequence=sequence, epoch=1)]))
    message = await outbox.get()
    assert message is not None
    assert not message.tree
    assert len(message.reject) == MOST_REJECTS
    assert message.reject[-1].sequence == 2 * MOST_REJECTS - 1


async def test_places_and_draining_are_kept_until_they_are_read_and_told_once() -> None:
    outbox = Outbox()
    outbox.put(pb.DraftMessage(max_sequences=5))
    outbox.put(pb.DraftMessage(max_sequences=0, draining=True))
    outbox.put(tree(1, 1))
    first = await outbox.get()
    outbox.put(tree(1, 2))
    second = await outbox.get()
    assert first is not None
    assert second is not None
    assert (first.max_sequences, first.draining) == (0, True)
    assert not second.HasField("max_sequences")


async def test_a_reader_that_waits_is_woken_and_told_the_end() -> None:
    outbox = Outbox()
    reader = asyncio.create_task(outbox.get())
    await asyncio.sleep(0)
    assert not reader.done()
    outbox.end()
    assert await reader is None
