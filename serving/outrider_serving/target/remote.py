"""A draft in another pod, over one gRPC stream. `draft_fleet.py` puts several of them to work.

The engine's thread asks and collects; the event loop's side connects, sends and receives. What they share is
guarded by one condition. Whatever the draft does or fails to do ends here: the engine sees trees, or none.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

import grpc
import structlog

from outrider_serving.engine.tree import Tree
from outrider_serving.protocol.channel import connect
from outrider_serving.protocol.errors import BrokenStream, ProtocolError
from outrider_serving.protocol.identity import BadIdentity, Identity, handshake_problem
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2_grpc as rpc
from outrider_serving.protocol.sampling import sampling_to_message
from outrider_serving.protocol.trees import tree_from_message
from outrider_serving.target.drafters import Ask, DraftState, DraftStatus

log = structlog.get_logger()

Message = TypeVar("Message")

DESCRIBE_TIMEOUT_S = 10.0
RECONNECT_S = 0.5
LONGEST_RECONNECT_S = 5.0
# Another tokenizer does not turn into the right one by itself, nor garbage into messages, but the pod behind the
# address may be replaced.
INCOMPATIBLE_RETRY_S = 15.0
# Trees, and refusals, of a message; a draft holds as many refusals at most (see its Outbox). A million are a few MB.
MOST_NAMED = 4096
# Of what a draft says for people.
LONGEST_WORDS = 200
# Targets that lost the same draft do not all come back at the same moment.
JITTER = 0.2
# A draft that had no KV blocks for a sequence does not tell when it has some again: after so long it is asked.
FULL_S = 10.0
# Steps that the draft has not been sent yet. One that reads nothing for so long is connected to anew.
MOST_UNSENT = 1024


class Refusal(Enum):
    """Why a sequence has no tree. FULL: no place now. DECLINED: never here. BROKEN: what came broke the protocol."""

    FULL = "full"
    DECLINED = "declined"
    BROKEN = "broken"


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
    refusal: Refusal | None = None


def wait_for_trees(
    changed: threading.Condition,
    awaited: Mapping[RemoteDrafter, Iterable[int]],
    patience_s: float,
    longest_s: float,
) -> None:
    """Waits, on the drafts' common condition, for the trees of `awaited`: for each draft as long as it is heard of
    every `patience_s`, and for none longer than `longest_s`.
    """
    with changed:
        started_s = time.monotonic()
        while True:
            deadlines_s = [
                min(max(started_s, draft.heard_s) + patience_s, started_s + longest_s)
                for draft, sequences in awaited.items()
                if draft.available and any(draft.awaits(sequence) for sequence in sequences)
            ]
            now_s = time.monotonic()
            ahead_s = [deadline_s - now_s for deadline_s in deadlines_s if deadline_s > now_s]
            if not ahead_s:
                return
            changed.wait(min(ahead_s))


class RemoteDrafter:
    """A `Drafter`. `run` must be running on an event loop; the other methods are the engine thread's."""

    def __init__(
        self,
        address: str,
        tokenizer_fingerprint: str,
        vocabulary_size: int,
        shape: pb.TreeShape,
        changed: threading.Condition | None = None,
        on_leaving: Callable[[], object] = lambda: None,
        identity: Identity | None = None,
        name: str = "",
    ) -> None:
        """`changed` is notified of everything that happens; shared by drafts that are waited for together.
        `on_leaving` is called on the event loop when the draft ends or says that it will.
        With an `identity` the draft has to show a certificate for `name`; without one nobody is asked who they are.
        """
        self.address = address
        self._identity = identity
        self._name = name
        # When the draft was heard last, and how often in all.
        self.heard_s = 0.0
        self.heard = 0
        self._fingerprint = tokenizer_fingerprint
        self._vocabulary_size = vocabulary_size
        self._shape = shape
        self._changed = changed or threading.Condition()
        self._on_leaving = on_leaving
        self._status = DraftStatus(DraftState.CONNECTING)
        self._followed: dict[int, Followed] = {}
        # Raised by each connection: what was opened under an earlier one, the draft has forgotten.
        self._generation = 0
        self._epochs = itertools.count(1)
        self._places = 0
        # After a refusal no more than it had taken, for a while.
        self._cut, self._cut_until_s = 0, 0.0
        self._draining = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outbox: asyncio.Queue[pb.TargetMessage] = asyncio.Queue()
        self._stream_limit: asyncio.Timeout | None = None

    @property
    def status(self) -> DraftStatus:
        return self._status

    @property
    def available(self) -> bool:
        return self._status.state is DraftState.CONNECTED

    @property
    def capacity(self) -> int:
        """Sequences that this target may have here, those it has included."""
        if not self.available:
            return 0
        return min(self._places, self._cut) if time.monotonic() < self._cut_until_s else self._places

    @property
    def draining(self) -> bool:
        return self._draining

    def knows(self, sequence: int) -> bool:
        """The sequence was opened under this connection, and its trees may still come."""
        followed = self._followed.get(sequence)
        return (
            self.available
            and followed is not None
            and followed.generation == self._generation
            and followed.refusal is None
        )

    def refusal(self, sequence: int) -> Refusal | None:
        followed = self._followed.get(sequence)
        return followed.refusal if followed is not None else None

    def answered(self, sequence: int) -> bool:
        """The draft has said what it had to say of the sequence, be it that there is no tree."""
        followed = self._followed.get(sequence)
        return followed is not None and (
            followed.final or len(followed.tree) > 0 or followed.refusal in (Refusal.FULL, Refusal.DECLINED)
        )

    def trees(self, sequences: Iterable[int]) -> dict[int, Tree]:
        """The trees that are here; a sequence without one is left out."""
        with self._changed:
            followed = {sequence: self._followed[sequence] for sequence in sequences if sequence in self._followed}
            return {sequence: one.tree for sequence, one in followed.items() if len(one.tree)}

    def ask(self, asks: Many[Ask]) -> None:
        message = pb.TargetMessage()
        with self._changed:
            for ask in asks:
                self._tell(ask, message)
            if message.commit:
                self._send(message)

    def _tell(self, ask: Ask, message: pb.TargetMessage) -> None:
        followed = self._followed.setdefault(ask.sequence, Followed())
        budget = pb.Budget(
            max_nodes=ask.max_nodes,
            max_depth=ask.max_depth,
            target_step_ms=ask.target_step_s * 1000,
            target_node_ms=ask.target_node_s * 1000,
        )
        if followed.generation != self._generation:
            epoch = next(self._epochs)
            self._followed[ask.sequence] = Followed(epoch, self._generation, list(ask.tokens))
            opened = pb.Open(
                sequence=ask.sequence,
                epoch=epoch,
                tokens=ask.tokens,
                prompt_tokens=ask.prompt_tokens,
                sampling=sampling_to_message(ask.sampling),
                shape=self._shape,
                budget=budget,
            )
            # One a message: many long prompts together could be larger than a message may be.
            self._send(pb.TargetMessage(open=[opened]))
        elif followed.refusal is None and len(ask.tokens) > len(followed.tokens):
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
        wait_for_trees(self._changed, {self: sequences}, patience_s, longest_s)
        return self.trees(sequences)

    def awaits(self, sequence: int) -> bool:
        """Whether waiting may bring the sequence a tree, or a better one."""
        followed = self._followed.get(sequence)
        if followed is None or followed.refusal is not None or followed.final:
            return False
        return not (self._shape.run_ahead and len(followed.tree))

    def close(self, sequence: int) -> None:
        with self._changed:
            followed = self._followed.pop(sequence, None)
            if followed is not None and followed.generation == self._generation:
                self._send(pb.TargetMessage(close=[pb.Close(sequence=sequence)]))

    def _send(self, message: pb.TargetMessage) -> None:
        if self._loop is not None and self.available:
            self._loop.call_soon_threadsafe(self._put, message)

    def _put(self, message: pb.TargetMessage) -> None:
        if not self._outbox.full():
            self._outbox.put_nowait(message)
        elif self._stream_limit is not None:
            self._stream_limit.reschedule(0)

    async def run(self) -> None:
        """Keeps a stream to the draft for as long as the target lives."""
        self._loop = asyncio.get_running_loop()
        retry_s = RECONNECT_S
        while True:
            generation, broken = self._generation, False
            try:
                await self._connection()
            except grpc.aio.AioRpcError as error:
                self._connecting(handshake_problem(error.details() or "") or error.code().name)
                broken = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # a message larger than any
            except BadIdentity as error:
                self._connecting(str(error))
            except TimeoutError:
                self._connecting("it reads nothing")
            except BrokenStream as error:
                self._connecting(str(error))
                broken = True
            if broken or self._status.state is DraftState.INCOMPATIBLE:
                retry_s = INCOMPATIBLE_RETRY_S
            elif self._generation != generation:
                retry_s = RECONNECT_S
            await asyncio.sleep(retry_s * random.uniform(1 - JITTER, 1 + JITTER))
            retry_s = min(2 * retry_s, LONGEST_RECONNECT_S)

    def _connecting(self, reason: str) -> None:
        self._set_status(DraftStatus(DraftState.CONNECTING, reason=f"{self.address}: {reason}"))

    async def _connection(self) -> None:
        """One connection, until it ends. Raises AioRpcError or BrokenStream when it breaks, and BadIdentity."""
        async with connect(self.address, self._name, self._identity) as channel:
            stub = rpc.DraftStub(channel)
            # A handshake that fails is to say why; who waits until there is a connection hears nothing of it.
            wait = self._identity is None
            described = _read(
                await stub.Describe(pb.DescribeRequest(), timeout=DESCRIBE_TIMEOUT_S, wait_for_ready=wait)
            )
            model = described.model[:LONGEST_WORDS]
            if described.tokenizer_fingerprint != self._fingerprint:
                reason = "another tokenizer than the target's; name a draft of the same family in spec.draft.model.uri"
                self._set_status(DraftStatus(DraftState.INCOMPATIBLE, model, reason))
                return
            self._outbox = asyncio.Queue(MOST_UNSENT)
            stream = stub.Speculate(self._outgoing(self._outbox))
            with self._changed:
                self._generation += 1
                self._places, self._cut_until_s, self._draining = described.free_sequences, 0.0, False
            self._set_status(DraftStatus(DraftState.CONNECTED, model))
            try:
                async with asyncio.timeout(None) as self._stream_limit:
                    async for message in stream:
                        self._receive(_read(message))
            finally:
                self._stream_limit = None
                self._set_status(DraftStatus(DraftState.CONNECTING, model, f"{self.address}: the stream ended"))
                self._on_leaving()

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
        say("draft", address=self.address, state=status.state.value, model=status.model, reason=status.reason)

    def _receive(self, message: pb.DraftMessage) -> None:
        if max(len(message.tree), len(message.reject)) > MOST_NAMED:
            raise BrokenStream("it sent more trees or refusals in one message than a draft may; look at its pod")
        with self._changed:
            self.heard_s = time.monotonic()
            self.heard += 1
            # The latest of a sequence: an honest draft sends no other.
            for tree in {tree.sequence: tree for tree in message.tree}.values():
                self._take_tree(tree)
            for reject in message.reject:
                self._take_reject(reject)
            if message.HasField("max_sequences"):
                self._places, self._cut_until_s = message.max_sequences, 0.0
            leaving, self._draining = message.draining and not self._draining, self._draining or message.draining
            self._changed.notify_all()
        if leaving:
            log.info("draft drains", address=self.address)
            self._on_leaving()

    def _take_tree(self, message: pb.Tree) -> None:
        followed = self._followed.get(message.sequence)
        if followed is None or followed.refusal is not None or message.epoch != followed.epoch:
            return
        length = len(followed.tokens)
        try:
            if not 0 < message.base_position <= length:
                raise ProtocolError(f"a tree rooted at {message.base_position} of {length} tokens")
            tree = tree_from_message(message, self._vocabulary_size)
        except ProtocolError as error:
            followed.refusal, followed.tree = Refusal.BROKEN, Tree()
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
            return
        followed.refusal = Refusal.FULL if reject.full else Refusal.DECLINED
        if reject.full:
            refused = [one for one in self._followed.values() if one.refusal is Refusal.FULL]
            self._cut = min(self.capacity, len(self._followed) - len(refused))
            self._cut_until_s = time.monotonic() + FULL_S
        log.warning("draft does not draft a sequence", address=self.address, reason=reject.reason[:LONGEST_WORDS])


def _read(message: Message | None) -> Message:
    """grpc.aio hands over None for what it cannot parse. Raises BrokenStream."""
    if message is None:
        raise BrokenStream("what it sends is no message of the protocol; look at what stands at this address")
    return message
