"""Several drafts as one: a sequence stays with the draft that holds its cache, and moves when that one cannot go on.

A move never leaves a hole where it can be helped: the old draft goes on giving trees while the next one reads the
sequence, and nobody waits for the one that reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field

import structlog

from outrider_serving.engine.tree import Tree
from outrider_serving.target.assignment import Places, least_loaded, overloaded
from outrider_serving.target.drafters import Ask, DraftState, DraftStatus
from outrider_serving.target.names import Resolver, resolve
from outrider_serving.target.remote import Refusal, RemoteDrafter, wait_for_trees

log = structlog.get_logger()

RESOLVE_EVERY_S = 3.0
# One prompt a second is read anew for the sake of balance.
MOVE_EVERY_S = 1.0
# A draft that has been given a running sequence may read it for so long; 4k tokens beside other sequences' levels take
# a 0.5B draft on two CPU cores about as long.
READING_S = 30.0
MISSES_TO_REST = 2
# Doubled each time: two steps' patience with a 1.5B target on a laptop is about a second.
FIRST_REST_S = 2.0
LONGEST_REST_S = 60.0

# Of an address and the name that led to it.
Connect = Callable[[str, str, threading.Condition, Callable[[], object]], RemoteDrafter]


@dataclass(eq=False)
class Member:
    """One draft. `leaving`: its name does not lead to it any more. After `misses` it rests until `rests_until_s`."""

    drafter: RemoteDrafter
    connection: asyncio.Task[None]
    leaving: bool = False
    heard: int = 0
    misses: int = 0
    rest_s: float = FIRST_REST_S
    rests_until_s: float = -math.inf

    @property
    def stays(self) -> bool:
        return not (self.leaving or self.drafter.draining)

    def rests(self, now_s: float) -> bool:
        return now_s < self.rests_until_s

    def take_rest(self, now_s: float, reason: str) -> None:
        if self.rests(now_s):
            return
        log.warning("draft rests", address=self.drafter.address, reason=reason, seconds=self.rest_s)
        self.misses, self.rests_until_s = 0, now_s + self.rest_s
        self.rest_s = min(2 * self.rest_s, LONGEST_REST_S)

    def judge(self, sequences: Many[int], now_s: float) -> None:
        """After a step that waited for these sequences. A draft that reads a long prompt is heard of."""
        silent, self.heard = self.drafter.heard == self.heard, self.drafter.heard
        if any(self.drafter.answered(sequence) for sequence in sequences):
            self.misses, self.rest_s = 0, FIRST_REST_S
        elif silent:
            self.misses += 1
        if self.misses >= MISSES_TO_REST:
            self.take_rest(now_s, "silent")


@dataclass
class Home:
    """Where a sequence is drafted: `now` gives its trees; `next` reads it, since `next_since_s`, to take over with its
    first tree. `refused`: those that will not have it.
    """

    now: Member | None = None
    next: Member | None = None
    next_since_s: float = 0.0
    refused: set[Member] = field(default_factory=set)


@dataclass(frozen=True)
class DraftReport:
    """One draft, for /health. `state` is a DraftState, or Draining, or Resting."""

    address: str
    state: str
    model: str | None
    reason: str
    sequences: int


class DraftFleet:
    """A `Drafter` over all drafts behind `names` (HOST:PORT each). `run` must be running on an event loop; the other
    methods are the engine thread's.
    """

    def __init__(
        self,
        names: Many[str],
        connect: Connect,
        resolve: Resolver = resolve,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._names = names
        self._connect = connect
        self._resolve = resolve
        self._clock = clock
        self._changed = threading.Condition()
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._unresolved: dict[str, str] = {}
        self._members: dict[str, Member] = {}
        self._homes: dict[int, Home] = {}
        self._next_move_s = 0.0
        self._look_again = asyncio.Event()

    @property
    def status(self) -> DraftStatus:
        """That of the draft which is best off."""
        statuses = [member.drafter.status for member in self._all()]
        for state in (DraftState.CONNECTED, DraftState.INCOMPATIBLE, DraftState.CONNECTING):
            for status in statuses:
                if status.state is state:
                    return status
        return DraftStatus(DraftState.CONNECTING, reason=next(iter(self._unresolved.values()), ""))

    @property
    def reports(self) -> list[DraftReport]:
        """Every draft, and every name that leads to none."""
        now_s = self._clock()
        with self._changed:
            assigned = self._assigned()
            known = [_report(member, assigned[member], now_s) for member in self._members.values()]
            lost = [
                DraftReport(name, DraftState.CONNECTING.value, None, reason, 0)
                for name, reason in self._unresolved.items()
                if not self._addresses.get(name)
            ]
            return known + lost

    @property
    def connected(self) -> int:
        return sum(member.drafter.available for member in self._all())

    @property
    def incompatible(self) -> int:
        return sum(member.drafter.status.state is DraftState.INCOMPATIBLE for member in self._all())

    @property
    def available(self) -> bool:
        return self.connected > 0

    def _all(self) -> list[Member]:
        with self._changed:
            return list(self._members.values())

    def ask(self, asks: Many[Ask]) -> None:
        with self._changed:
            now_s = self._clock()
            for ask in asks:
                self._follow(ask.sequence, now_s)
            places = self._places(now_s)
            for ask in asks:
                self._settle(ask.sequence, places, now_s)
            self._even_out(asks, now_s)
            self._tell(asks)

    def _tell(self, asks: Many[Ask]) -> None:
        by_member: dict[Member, list[Ask]] = defaultdict(list)
        for ask in asks:
            home = self._homes[ask.sequence]
            for member in (home.now, home.next):
                if member is not None:
                    by_member[member].append(ask)
        for member, its_asks in by_member.items():
            member.drafter.ask(its_asks)

    def _follow(self, sequence: int, now_s: float) -> None:
        """What its drafts have said since the last step."""
        home = self._homes.get(sequence)
        if home is not None:
            self._leave_those_lost(home, sequence, now_s)
            self._take_over(home, sequence, now_s)

    def _settle(self, sequence: int, places: dict[Member, Places], now_s: float) -> None:
        """Gives the sequence a draft of those that can go on with it, if there is one, and takes its place out of
        `places`: to count those that are taken for each sequence without one took 58 ms a step for 256.
        """
        home = self._homes.get(sequence)
        if home is not None and (home.next is not None or home.now in places):
            return
        to = least_loaded(places, home.refused if home else ())
        if to is not None:
            places[to] = places[to].with_one_more
        if home is None:
            self._homes[sequence] = Home(now=to)
        else:
            self._begin_move(home, to, now_s)

    def _places(self, now_s: float) -> dict[Member, Places]:
        """Of the drafts that sequences may go to. The last one that is left is not spared for its silence: whether
        drafting pays as a whole is not decided here.
        """
        assigned = self._assigned()
        staying = [member for member in self._members.values() if member.drafter.available and member.stays]
        awake = [member for member in staying if not member.rests(now_s)]
        return {member: Places(member.drafter.capacity, assigned[member]) for member in awake or staying}

    def _assigned(self) -> Counter[Member]:
        assigned: Counter[Member] = Counter()
        for home in self._homes.values():
            assigned.update(member for member in (home.now, home.next) if member is not None)
        return assigned

    @staticmethod
    def _leave_those_lost(home: Home, sequence: int, now_s: float) -> None:
        for member in (home.now, home.next):
            if member is None or member.drafter.knows(sequence):
                continue
            refusal = member.drafter.refusal(sequence)
            if refusal in (Refusal.DECLINED, Refusal.BROKEN):
                home.refused.add(member)
            if refusal is Refusal.BROKEN:
                member.take_rest(now_s, "broke the protocol")
            member.drafter.close(sequence)
            home.now = None if home.now is member else home.now
            home.next = None if home.next is member else home.next

    def _take_over(self, home: Home, sequence: int, now_s: float) -> None:
        if home.next is None:
            return
        late = now_s - home.next_since_s > READING_S
        if home.next.drafter.answered(sequence) or (late and home.now is None):
            if home.now is not None:
                home.now.drafter.close(sequence)
            home.now, home.next = home.next, None
        elif late:
            home.next.take_rest(now_s, "gave no tree")
            home.next.drafter.close(sequence)
            home.next = None

    @staticmethod
    def _begin_move(home: Home, to: Member | None, now_s: float) -> None:
        home.next, home.next_since_s = to, now_s

    def _even_out(self, asks: Many[Ask], now_s: float) -> None:
        """After a draft has come: moves the shortest of a loaded one's sequences, one at a time."""
        if now_s < self._next_move_s:
            return
        move = overloaded(self._places(now_s))
        if move is None:
            return
        source, to = move
        movable = [
            ask
            for ask in asks
            if (home := self._homes[ask.sequence]).now is source and home.next is None and to not in home.refused
        ]
        if movable:
            shortest = min(movable, key=lambda ask: len(ask.tokens))
            self._begin_move(self._homes[shortest.sequence], to, now_s)
            self._next_move_s = now_s + MOVE_EVERY_S

    def collect(self, asks: Many[Ask], patience_s: float, longest_s: float) -> Mapping[int, Tree]:
        sequences = [ask.sequence for ask in asks]
        with self._changed:
            now_s = self._clock()
            housed: dict[Member, list[int]] = defaultdict(list)
            for sequence in sequences:
                home = self._homes.get(sequence)
                if home is not None and home.now is not None and not self._spared(home.now, now_s):
                    housed[home.now].append(sequence)
            awaited = {member.drafter: its_sequences for member, its_sequences in housed.items()}
            wait_for_trees(self._changed, awaited, patience_s, longest_s)
            # Where no step waits, there is nothing to spare.
            if patience_s > 0:
                for member, its_sequences in housed.items():
                    member.judge(its_sequences, self._clock())
            trees: dict[int, Tree] = {}
            for member in self._members.values():
                trees = member.drafter.trees(sequences) | trees
            return trees

    def _spared(self, member: Member, now_s: float) -> bool:
        """The draft rests, and others do not: nobody waits for it."""
        return member.rests(now_s) and member not in self._places(now_s)

    def close(self, sequence: int) -> None:
        with self._changed:
            home = self._homes.pop(sequence, Home())
            for member in (home.now, home.next):
                if member is not None:
                    member.drafter.close(sequence)

    async def run(self) -> None:
        """Follows the names, and keeps a stream to every draft behind them, for as long as the target lives."""
        try:
            while True:
                await self._follow_names()
                self._look_again.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RESOLVE_EVERY_S):
                        await self._look_again.wait()
        finally:
            for member in self._all():
                member.connection.cancel()

    async def _follow_names(self) -> None:
        for name in self._names:
            try:
                self._addresses[name] = await self._resolve(name)
                self._unresolved.pop(name, None)
            except (OSError, OverflowError, ValueError) as error:  # all that getaddrinfo raises
                # What was known goes on: a name server that fails takes no draft away.
                self._unresolved[name] = f"{name} does not resolve ({getattr(error, 'strerror', None) or error})"
        wanted = {address: name for name, addresses in self._addresses.items() for address in addresses}
        for address in sorted(wanted.keys() - self._members.keys()):
            self._add(address, wanted[address])
        for address in list(self._members):
            self._follow_address(address, wanted)

    def _add(self, address: str, name: str) -> None:
        drafter = self._connect(address, name, self._changed, self._look_again.set)
        with self._changed:
            self._members[address] = Member(drafter, asyncio.create_task(drafter.run()))

    def _follow_address(self, address: str, wanted: Collection[str]) -> None:
        """A pod that ends leaves its Service before it has ended: it is let go when its sequences have moved."""
        with self._changed:
            member = self._members[address]
            member.leaving = address not in wanted
            if member.leaving and not (member.drafter.available and self._assigned()[member]):
                del self._members[address]
                member.connection.cancel()
                self._forget(member)

    def _forget(self, member: Member) -> None:
        for home in self._homes.values():
            home.now = None if home.now is member else home.now
            home.next = None if home.next is member else home.next
            home.refused.discard(member)


def _report(member: Member, sequences: int, now_s: float) -> DraftReport:
    status = member.drafter.status
    state = status.state.value
    if status.state is DraftState.CONNECTED:
        if not member.stays:
            state = "Draining"
        elif member.rests(now_s):
            state = "Resting"
    return DraftReport(member.drafter.address, state, status.model, status.reason, sequences)
