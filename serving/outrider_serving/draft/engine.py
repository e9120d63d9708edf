"""The draft's loop body: takes the targets' messages, grows all trees that want it by one level, says what changed.

No threads and no I/O: the server hands messages in and carries messages out.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field

from outrider_serving.draft import fair
from outrider_serving.draft.grow import Limits, goodput, level_rows
from outrider_serving.draft.level_time import LevelTime
from outrider_serving.draft.session import Session
from outrider_serving.engine.batch_sampler import propose_all
from outrider_serving.engine.calibration import Calibration
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.step_time import StepTime
from outrider_serving.protocol.errors import ProtocolError
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb
from outrider_serving.protocol.sampling import sampling_from_message
from outrider_serving.protocol.trees import MOST_NODES, tree_to_message

RATE = 0.1
# Until commits have told how often a level holds the right token; measured on a 0.5B draft of a 1.5B target
# with four branches.
FIRST_HIT_RATE = 0.9
# A session without a commit for so long gives its blocks up to a sequence that is opened. A shorter time would let two
# targets' sequences take turns in dropping each other, each time reading a whole prompt.
IDLE_S = 2.0
POOL_SMALL = "longer than the draft's whole KV cache; raise spec.draft.kvCache.memory (--kv-cache-memory)"
POOL_FULL = "the draft's KV cache is full; raise spec.draft.kvCache.memory (--kv-cache-memory)"


@dataclass(eq=False)
class Drafted:
    """A session with its place: which stream, sequence and epoch, how far its tree has been told, and the number of
    the forward that served it last.
    """

    stream: int
    sequence: int
    epoch: int
    session: Session
    shape: pb.TreeShape
    budget: pb.Budget
    committed_at_s: float
    told: bool = False
    final: bool = False
    served: int = 0

    @property
    def grows(self) -> bool:
        return not self.final and self.budget.max_nodes > 0


@dataclass
class LevelReport:
    """What one forward of the draft did, for metrics."""

    sequences: int = 0
    tokens: int = 0
    forward_s: float = 0.0
    messages: dict[int, pb.DraftMessage] = field(default_factory=dict)


class DraftEngine:
    """Sessions of all connected targets. Every failure of one message ends that sequence's drafting and no more.

    `level_time` is what a forward took at warm-up; it is followed from there. `levels` is what a level takes, for those
    who size the draft.
    """

    def __init__(
        self,
        runner: ModelRunner,
        max_num_seqs: int,
        max_model_len_tokens: int,
        level_time: StepTime,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.draining = False
        self._commits = 0
        self._commit_hits = 0
        self._unlisted = 0
        self._forwards = 0
        self._runner = runner
        self._max_num_seqs = max_num_seqs
        self._max_model_len_tokens = max_model_len_tokens
        self._clock = clock
        # Beliefs under noise are other figures than those of greedy decoding.
        self._calibration = {greedy: Calibration() for greedy in (True, False)}
        self._sessions: dict[tuple[int, int], Drafted] = {}
        self._rejects: dict[int, list[pb.Reject]] = defaultdict(list)
        self._level_time = level_time
        self.levels = LevelTime(level_time)
        self._hit_rate = FIRST_HIT_RATE

    @property
    def sequences(self) -> int:
        return len(self._sessions)

    @property
    def free_sequences(self) -> int:
        return self._max_num_seqs - len(self._sessions)

    def places(self, stream: int) -> int:
        """Sequences that the stream may have, those it has included; 0 when the draft is about to end."""
        return 0 if self.draining else fair.places(stream, self._held, self._max_num_seqs)

    @property
    def _held(self) -> dict[int, int]:
        return Counter(stream for stream, _ in self._sessions)

    def take_commits(self) -> tuple[int, int, int]:
        """Commits since the last call, those whose first token was in the tree, and tokens that the draft's short list
        lacked.
        """
        taken = (self._commits, self._commit_hits, self._unlisted)
        self._commits = self._commit_hits = self._unlisted = 0
        return taken

    def handle(self, stream: int, message: pb.TargetMessage) -> None:
        """Takes in what one target's step had to say."""
        for close in message.close:
            self._forget((stream, close.sequence))
        for opened in message.open:
            try:
                self._open(stream, opened)
            except ProtocolError as error:
                self._reject(stream, opened.sequence, opened.epoch, str(error))
        for commit in message.commit:
            try:
                self._commit(stream, commit)
            except ProtocolError as error:
                self._reject(stream, commit.sequence, commit.epoch, str(error))

    def drop_stream(self, stream: int) -> None:
        """The stream is gone, and with it all its sequences."""
        for key in [key for key in self._sessions if key[0] == stream]:
            self._forget(key)
        self._rejects.pop(stream, None)

    def _forget(self, key: tuple[int, int]) -> None:
        drafted = self._sessions.pop(key, None)
        if drafted is not None:
            drafted.session.free()

    def _reject(
        self, stream: int, sequence: int, epoch: int, reason: str, reopen: bool = False, full: bool = False
    ) -> None:
        self._forget((stream, sequence))
        reject = pb.Reject(sequence=sequence, epoch=epoch, reason=reason, reopen=reopen, full=full)
        self._rejects[stream].append(reject)

    def _open(self, stream: int, opened: pb.Open) -> None:
        key = (stream, opened.sequence)
        self._forget(key)
        self._check_tokens(opened.tokens)
        if not opened.tokens:
            raise ProtocolError("an Open without tokens; send the prompt and the output so far")
        sampling = sampling_from_message(opened.sampling)
        if reason := self._no_place(stream):
            self._reject(stream, opened.sequence, opened.epoch, reason, full=True)
            return
        session = Session(
            tokens=opened.tokens,
            prompt_tokens=opened.prompt_tokens,
            sampling=sampling,
            vocabulary_size=self._runner.vocabulary_size,
            limits=self._limits(opened.shape, opened.budget),
            kv=self._runner.new_kv(),
            calibration=Calibration(self._calibration[sampling.greedy]),
        )
        blocks = session.blocks_missing(session.behind)
        fits = blocks <= self._runner.pool.blocks
        if not fits or not self._make_room(blocks, latest_s=self._clock() - IDLE_S):
            session.free()
            self._reject(stream, opened.sequence, opened.epoch, POOL_FULL if fits else POOL_SMALL, full=fits)
            return
        session.take_blocks()
        if self._runner.short_list is not None:
            self._runner.short_list.read(opened.tokens)
        self._sessions[key] = Drafted(
            stream=stream,
            sequence=opened.sequence,
            epoch=opened.epoch,
            session=session,
            shape=opened.shape,
            budget=opened.budget,
            committed_at_s=self._clock(),
        )

    def _no_place(self, stream: int) -> str:
        """Why the stream cannot have one more sequence; empty when it can. The place may be one that another stream
        has beyond its share: what that one opened last goes.
        """
        if self.draining:
            return "the draft is about to end; open the sequence at another"
        if self.free_sequences:
            return ""
        most = self._max_num_seqs
        other = fair.gives_way(stream, self._held, most)
        if other is None:
            return f"all {most} sequences are taken; raise spec.draft.maxNumSeqs or spec.draft.replicas"
        last = next(drafted for drafted in reversed(self._sessions.values()) if drafted.stream == other)
        reason = f"another target has less than its share of the {most} sequences; raise spec.draft.replicas"
        self._reject(other, last.sequence, last.epoch, reason, full=True)
        return ""

    def _make_room(self, blocks: int, latest_s: float, asker: Drafted | None = None) -> bool:
        """Sees to it that so many blocks can be had: while they cannot, the session that was committed to least lately
        is dropped, to be opened anew when its target asks again. Not the asker's own, and none that was committed to
        after `latest_s`. False when that does not do.
        """
        while blocks > self._runner.pool.available:
            idle = [one for one in self._sessions.values() if one is not asker and one.committed_at_s <= latest_s]
            if not idle:
                return False
            least = min(idle, key=lambda one: one.committed_at_s)
            self._reject(least.stream, least.sequence, least.epoch, "its KV blocks were needed: open it", reopen=True)
        return True

    def _limits(self, shape: pb.TreeShape, budget: pb.Budget) -> Limits:
        # While the target verifies the upper half of such a tree the lower one grows, and the commit re-roots into it.
        ahead = 2 if shape.run_ahead else 1
        return Limits(
            max_depth=min(ahead * shape.max_depth, budget.max_depth or MOST_NODES),
            max_branches=max(1, min(shape.max_branches, self._runner.vocabulary_size)),
            max_nodes=min(ahead * min(shape.max_nodes, budget.max_nodes), MOST_NODES),
            min_probability=shape.min_probability,
            max_model_len_tokens=self._max_model_len_tokens,
        )

    def _check_tokens(self, tokens: Iterable[int]) -> None:
        if any(token >= self._runner.vocabulary_size for token in tokens):
            raise ProtocolError(f"a token outside the vocabulary of {self._runner.vocabulary_size}")

    def _commit(self, stream: int, commit: pb.Commit) -> None:
        drafted = self._sessions.get((stream, commit.sequence))
        if drafted is None or drafted.epoch != commit.epoch:
            self._reject(stream, commit.sequence, commit.epoch, "unknown sequence: open it", reopen=True)
            return
        self._check_tokens(commit.tokens)
        if not commit.tokens:
            raise ProtocolError("a Commit without tokens")
        outcomes = drafted.session.commit(commit.position, commit.tokens)
        if self._runner.short_list is not None:
            self._unlisted += self._runner.short_list.answered(commit.tokens)
        self._commits += 1
        self._commit_hits += bool(outcomes) and outcomes[0]
        for outcome in outcomes:
            self._hit_rate += RATE * (outcome - self._hit_rate)
        drafted.budget = commit.budget
        drafted.session.limits = self._limits(drafted.shape, commit.budget)
        drafted.committed_at_s = self._clock()
        drafted.told = drafted.final = False

    def step(self) -> LevelReport | None:
        """Reads on in the sequences that are behind and grows the trees that pay by a level, in one forward. None when
        there was nothing to do or say.
        """
        self._end_those_out_of_context()
        growing = self._with_blocks(self._growing())
        rows = self._in_turn(growing)
        report = LevelReport(sequences=len(rows))
        if rows:
            self._forward(growing, rows, report)
        self._finish_turns()
        report.messages = self._messages(rows)
        return report if rows or report.messages else None

    def _end_those_out_of_context(self) -> None:
        for drafted in list(self._sessions.values()):
            if len(drafted.session.tokens) > self._max_model_len_tokens:
                own = self._max_model_len_tokens
                reason = f"longer than the draft's context of {own} tokens; raise spec.draft.maxModelLen"
                self._reject(drafted.stream, drafted.sequence, drafted.epoch, reason)

    def _growing(self) -> dict[Drafted, list[int]]:
        """What the next forward serves: sequences that are behind, and the nodes that others expand."""
        growing: dict[Drafted, list[int]] = {
            drafted: [] for drafted in self._sessions.values() if drafted.grows and drafted.session.behind
        }
        for stream in self._streams().values():
            for drafted, node in self._level(stream, rows_anyway=len(growing)):
                growing.setdefault(drafted, []).append(node)
        return growing

    def _with_blocks(self, growing: dict[Drafted, list[int]]) -> dict[Drafted, list[int]]:
        """What of it there are blocks for; the latest committed are served first."""
        blocks = 0
        for drafted in sorted(growing, key=lambda one: -one.committed_at_s):
            if not self._has(drafted):
                continue
            more = drafted.session.blocks_missing(drafted.session.next_rows(growing[drafted]))
            if not drafted.session.behind and blocks + more > self._runner.pool.available:
                # A deeper tree is not worth another's whole prompt: this one is done.
                drafted.final, drafted.told = True, False
                continue
            if not self._make_room(blocks + more, drafted.committed_at_s, asker=drafted):
                self._reject(drafted.stream, drafted.sequence, drafted.epoch, POOL_FULL, full=True)
                continue
            blocks += more
        return {drafted: nodes for drafted, nodes in growing.items() if not drafted.final and self._has(drafted)}

    def _has(self, drafted: Drafted) -> bool:
        return self._sessions.get((drafted.stream, drafted.sequence)) is drafted

    def _streams(self) -> dict[int, list[Drafted]]:
        """The sequences, by target, whose trees may grow by a level."""
        streams: dict[int, list[Drafted]] = defaultdict(list)
        for drafted in self._sessions.values():
            if drafted.grows and not drafted.session.behind:
                streams[drafted.stream].append(drafted)
        return streams

    def _level(self, stream: list[Drafted], rows_anyway: int = 0) -> list[tuple[Drafted, int]]:
        """The nodes, over all of a target's trees, that the next level expands."""
        leaves = [
            (drafted.session.nodes[node].path, drafted, node) for drafted in stream for node in drafted.session.leaves
        ]
        leaves.sort(key=lambda leaf: -leaf[0])
        paths = [path for path, _, _ in leaves]
        rows = level_rows(paths, self._hit_rate, self._level_time, rows_anyway, self._worth(stream), _node_s(stream))
        return [(drafted, node) for _, drafted, node in leaves[:rows]]

    def _worth(self, stream: list[Drafted]) -> float | None:
        """Tokens a second that a waiting target would get from the trees as they are; None where it does not wait."""
        if stream[0].shape.run_ahead:
            return None
        spent_s = self._clock() - min(drafted.committed_at_s for drafted in stream)
        step_s = max(drafted.budget.target_step_ms for drafted in stream) / 1000
        paths = [node.path for drafted in stream for node in drafted.session.nodes]
        return goodput(paths, len(stream), step_s + spent_s, _node_s(stream))

    def _in_turn(self, growing: dict[Drafted, list[int]]) -> dict[Drafted, int]:
        """Of those that could be served, the sequences that the next forward serves, and how many rows of each."""
        wanting = [
            fair.Wanting(drafted.stream, drafted.session.behind or len(expand), drafted.served)
            for drafted, expand in growing.items()
        ]
        order = list(growing)
        return {order[index]: rows for index, rows in fair.rows_of_forward(wanting).items()}

    def _forward(self, growing: dict[Drafted, list[int]], rows: dict[Drafted, int], report: LevelReport) -> None:
        started = self._clock()
        prompts = any(drafted.session.behind > 1 for drafted in rows)
        batch = [drafted.session.rows(growing[drafted], most) for drafted, most in rows.items()]
        self._forwards += 1
        for drafted in rows:
            drafted.served = self._forwards
        logits = self._runner.forward(batch)
        places = [drafted.session.places() for drafted in rows]
        branches = [drafted.session.limits.max_branches for drafted, own in zip(rows, places, strict=True) for _ in own]
        proposals = iter(propose_all(logits, [place for own in places for place in own], branches))
        for drafted, own in zip(rows, places, strict=True):
            drafted.session.absorb([next(proposals) for _ in own])
            drafted.told = False
        report.tokens = sum(len(each) for each in batch)
        report.forward_s = self._clock() - started
        if not prompts:
            self._level_time.observe(report.tokens, report.forward_s)
            self.levels.observe(len(rows), report.forward_s)

    def _finish_turns(self) -> None:
        """Marks the trees that will not grow before the next commit: those at their limits, and all of a target that
        waits when no level earns what it costs.
        """
        for stream in self._streams().values():
            ended = stream if not self._level(stream) else [drafted for drafted in stream if not drafted.session.leaves]
            for drafted in ended:
                drafted.final, drafted.told = True, False

    def _messages(self, growing: Container[Drafted]) -> dict[int, pb.DraftMessage]:
        messages: dict[int, pb.DraftMessage] = defaultdict(pb.DraftMessage)
        for drafted in self._sessions.values():
            if drafted.told or not (drafted.final or drafted in growing or drafted.session.nodes):
                continue
            drafted.told = True
            messages[drafted.stream].tree.append(
                tree_to_message(
                    drafted.session.tree(),
                    drafted.sequence,
                    drafted.epoch,
                    len(drafted.session.tokens),
                    drafted.final,
                )
            )
        for stream, rejects in self._rejects.items():
            messages[stream].reject.extend(rejects)
        self._rejects.clear()
        return dict(messages)


def _node_s(stream: list[Drafted]) -> float:
    """What one more node costs the target to verify."""
    return max(drafted.budget.target_node_ms for drafted in stream) / 1000
