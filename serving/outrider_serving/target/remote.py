"""The draft in another pod, over one gRPC stream.

The engine's thread asks and collects; the event loop's side connects, sends and receives. What they share is
guarded by one condition. Whatever the draft does or fails to do ends here: the engine sees trees, or none.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field

import grpc
import structlog

from outrider_serving.engine.tree import Tree
from outrider_serving.protocol.errors import ProtocolError
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2_grpc as rpc
from outrider_serving.protocol.sampling import sampling_to_message
from outrider_serving.protocol.trees import tree_from_message
from outrider_serving.target.drafters import Ask, DraftState, DraftStatus

log = structlog.get_logger()

DESCRIBE_TIMEOUT_S = 10.0
RECONNECT_S = 0.5
# Another tokenizer does not turn into the right one by itself, but the pod behind the address may be replaced.
INCOMPATIBLE_RETRY_S = 15.0
CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", 16 << 20),
]


@dataclass
class Followed:
    """A sequence as the draft knows it. `tree` is rooted at the last of `tokens`; `final`: the draft will not
    grow it further.
    """

    epoch: int = 0
    generation: int = 0
    tokens: list[int] = field(default_factory=list)
    tree: Tree = field(default_factory=Tree)
    final: bool = False
    ended: bool = False


class RemoteDrafter:
    """A `Drafter`. `run` must be running on an event loop; the other methods are the engine thread's."""

    def __init__(self, address: str, tokenizer_fingerprint: str, vocabulary_size: int, shape: pb.TreeShape) -> None:
        self._address = address
        self._fingerprint = tokenizer_fingerprint
        self._vocabulary_size = vocabulary_size
        self._shape = shape
        self._changed = threading.Condition()
        self._status = DraftStatus(DraftState.CONNECTING)
        self._followed: dict[int, Followed] = {}
        # Raised by each connection: what was opened under an earlier one, the draft has forgotten.
        self._generation = 0
        self._heard_s = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outbox: asyncio.Queue[pb.TargetMessage] = asyncio.Queue()

    @property
    def status(self) -> DraftStatus:
        return self._status

    @property
    def available(self) -> bool:
        return self._status.state is DraftState.CONNECTED

    def ask(self, asks: Many[Ask]) -> None:
        message = pb.TargetMessage()
        with self._changed:
            for ask in asks:
                self._tell(ask, message)
            if message.open or message.commit:
                self._send(message)

    def _tell(self, ask: Ask, message: pb.TargetMessage) -> None:
        followed = self._followed.setdefault(ask.sequence, Followed())
        budget = pb.Budget(max_nodes=ask.max_nodes, max_depth=ask.max_depth, target_step_ms=ask.target_step_s * 1000)
        if followed.generation != self._generation:
            epoch = followed.epoch + 1
            self._followed[ask.sequence] = Followed(epoch, self._generation, list(ask.tokens))
            message.open.append(
                pb.Open(
                    sequence=ask.sequence,
                    epoch=epoch,
                    tokens=ask.tokens,
                    prompt_tokens=ask.prompt_tokens,
                    sampling=sampling_to_message(ask.sampling),
                    shape=self._shape,
                    budget=budget,
                )
            )
        elif not followed.ended and len(ask.tokens) > len(followed.tokens):
            known = len(followed.tokens)
            committed = ask.tokens[known:]
            followed.tokens.extend(committed)
            followed.tree = followed.tree.rerooted(committed)
            followed.final = False
            message.commit.append(
                pb.Commit(
                    sequence=ask.sequence,
                    epoch=followed.epoch,
                    position=known,
                    tokens=committed,
                    budget=budget,
                )
            )

    def collect(self, asks: Many[Ask], patience_s: float, longest_s: float) -> Mapping[int, Tree]:
        sequences = [ask.sequence for ask in asks]
        with self._changed:
            started_s = self._heard_s = time.monotonic()
            latest_s = started_s + longest_s
            while self.available and any(self._awaited(sequence) for sequence in sequences):
                left_s = min(self._heard_s + patience_s, latest_s) - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            trees = {sequence: self._followed[sequence].tree for sequence in sequences if sequence in self._followed}
            return {sequence: tree for sequence, tree in trees.items() if len(tree)}

    def _awaited(self, sequence: int) -> bool:
        followed = self._followed.get(sequence)
        if followed is None or followed.ended or followed.final:
            return False
        return not (self._shape.run_ahead and len(followed.tree))

    def close(self, sequence: int) -> None:
        with self._changed:
            followed = self._followed.pop(sequence, None)
            if followed is not None and followed.generation == self._generation:
                self._send(pb.TargetMessage(close=[pb.Close(sequence=sequence)]))

    def _send(self, message: pb.TargetMessage) -> None:
        if self._loop is not None and self.available:
            self._loop.call_soon_threadsafe(self._outbox.put_nowait, message)

    async def run(self) -> None:
        """Keeps a stream to the draft for as long as the target lives."""
        self._loop = asyncio.get_running_loop()
        while True:
            try:
                retry_s = await self._connection()
            except grpc.aio.AioRpcError as error:
                retry_s = RECONNECT_S
                self._set_status(DraftStatus(DraftState.CONNECTING, reason=f"{self._address}: {error.code().name}"))
            await asyncio.sleep(retry_s)

    async def _connection(self) -> float:
        """One connection, until it ends. Returns how long to wait before the next; raises AioRpcError when it
        breaks.
        """
        async with grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS) as channel:
            stub = rpc.DraftStub(channel)
            described = await stub.Describe(pb.DescribeRequest(), timeout=DESCRIBE_TIMEOUT_S, wait_for_ready=True)
            if described.tokenizer_fingerprint != self._fingerprint:
                reason = "another tokenizer than the target's; name a draft of the same family in spec.draft.model.uri"
                self._set_status(DraftStatus(DraftState.INCOMPATIBLE, described.model, reason))
                return INCOMPATIBLE_RETRY_S
            self._outbox = asyncio.Queue()
            stream = stub.Speculate(self._outgoing(self._outbox))
            with self._changed:
                self._generation += 1
            self._set_status(DraftStatus(DraftState.CONNECTED, described.model))
            try:
                async for message in stream:
                    self._receive(message)
            finally:
                self._set_status(
                    DraftStatus(DraftState.CONNECTING, described.model, f"{self._address}: the stream ended")
                )
        return RECONNECT_S

    @staticmethod
    async def _outgoing(outbox: asyncio.Queue[pb.TargetMessage]) -> AsyncIterator[pb.TargetMessage]:
        while True:
            yield await outbox.get()

    def _set_status(self, status: DraftStatus) -> None:
        with self._changed:
            if status == self._status:
                return
            self._status = status
            self._changed.notify_all()
        say = log.info if status.state is DraftState.CONNECTED else log.warning
        say("draft", state=status.state.value, model=status.model, reason=status.reason)

    def _receive(self, message: pb.DraftMessage) -> None:
        with self._changed:
            self._heard_s = time.monotonic()
            for tree in message.tree:
                self._take_tree(tree)
            for reject in message.reject:
                self._take_reject(reject)
            self._changed.notify_all()

    def _take_tree(self, message: pb.Tree) -> None:
        followed = self._followed.get(message.sequence)
        if followed is None or followed.ended or message.epoch != followed.epoch:
            return
        length = len(followed.tokens)
        try:
            if not 0 < message.base_position <= length:
                raise ProtocolError(f"a tree rooted at {message.base_position} of {length} tokens")
            tree = tree_from_message(message, self._vocabulary_size)
        except ProtocolError as error:
            followed.ended, followed.tree = True, Tree()
            log.warning("draft broke the protocol; its sequence goes on without it", reason=str(error))
            return
        if message.base_position == length:
            followed.tree, followed.final = tree, message.final
            return
        # Grown before the draft heard of the last commit: what is below it may still be deeper than what is held.
        late = tree.rerooted(followed.tokens[message.base_position :])
        if len(late) > len(followed.tree):
            followed.tree = late

    def _take_reject(self, reject: pb.Reject) -> None:
        followed = self._followed.get(reject.sequence)
        if followed is None or reject.epoch != followed.epoch:
            return
        followed.tree = Tree()
        if reject.reopen:
            # Nothing to wait for now; the next ask opens it anew.
            followed.generation, followed.final = 0, True
        else:
            followed.ended = True
            log.warning("draft does not draft a sequence", reason=reject.reason)
