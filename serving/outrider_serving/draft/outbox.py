"""What a stream is to be told and has not read yet. A target that reads slowly gets less, and newer, not more."""

from __future__ import annotations

import asyncio

from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb

# A target that does not read and goes on naming sequences that the draft does not know is not answered for ever.
MOST_REJECTS = 4096


class Outbox:
    """Of one event loop. Holds the latest tree and the latest reject of each sequence."""

    def __init__(self) -> None:
        self._trees: dict[int, pb.Tree] = {}
        self._rejects: dict[int, pb.Reject] = {}
        self._rest = pb.DraftMessage()
        self._filled = asyncio.Event()
        self._ended = False

    def put(self, message: pb.DraftMessage) -> None:
        for reject in message.reject:
            self._trees.pop(reject.sequence, None)
            self._rejects.pop(reject.sequence, None)
            self._rejects[reject.sequence] = reject
            if len(self._rejects) > MOST_REJECTS:
                del self._rejects[next(iter(self._rejects))]
        for tree in message.tree:
            self._trees[tree.sequence] = tree
        if message.HasField("max_sequences"):
            self._rest.max_sequences = message.max_sequences
        self._rest.draining |= message.draining
        self._filled.set()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._filled.set()

    async def get(self) -> pb.DraftMessage | None:
        """All that is to be told, when there is something; None after the end."""
        await self._filled.wait()
        if self._ended:
            return None
        self._filled.clear()
        message, self._rest = self._rest, pb.DraftMessage()
        message.tree.extend(self._trees.values())
        message.reject.extend(self._rejects.values())
        self._trees.clear()
        self._rejects.clear()
        return message
