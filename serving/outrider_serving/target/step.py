"""The target's loop body: make room, admit, draft, forward, verify, commit. No threads, no I/O but the drafter's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.rows import Rows
from outrider_serving.engine.tree import ROOT, Tree
from outrider_serving.target.choosing import Chooser, Forwarded, choosers
from outrider_serving.target.prefill import PrefillPace
from outrider_serving.target.scheduler import Scheduler
from outrider_serving.target.sequence import Sequence
from outrider_serving.target.speculation import Speculation, proposals
from outrider_serving.target.verify import Walk, verify

# Of that many calls without a sequence that goes on, the fault is none of theirs: memory, or a library. The choices of
# one fail together mostly, and are one.
FAILURES_IN_A_ROW = 8


@dataclass
class StepReport:
    """What one step did, for metrics. Seconds are wall time: draft_wait_s waiting for trees, host_s all that is
    not named.
    """

    sequences: int = 0
    prompt_tokens: int = 0
    first_tokens: int = 0
    decoded_tokens: int = 0
    decoded_sequences: int = 0
    drafts: int = 0
    draft_tokens: int = 0
    draft_levels: int = 0
    accepted_per_position: list[int] = field(default_factory=list)
    near_ties: int = 0
    tolerated: int = 0
    preemptions: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0
    tree_hits: int = 0
    asked: int = 0
    draft_wait_s: float = 0.0
    forward_s: float = 0.0
    verify_s: float = 0.0
    host_s: float = 0.0

    def accepted(self, depth: int) -> None:
        self.accepted_per_position.extend([0] * (depth - len(self.accepted_per_position)))
        for position in range(depth):
            self.accepted_per_position[position] += 1


class TargetStep:
    """One step advances every running sequence: by a chunk of its prompt, or by a verified tree."""

    def __init__(
        self,
        runner: ModelRunner,
        scheduler: Scheduler,
        speculation: Speculation,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.scheduler = scheduler
        self.speculation = speculation
        self._runner = runner
        self._clock = clock
        self._pace = PrefillPace(speculation.step_time.predict, scheduler.max_batched_tokens)
        self._failed_in_a_row: set[str] = set()  # calls

    def step(self) -> StepReport | None:
        """None when there is nothing to do. Raises what the forward does, which is every sequence's failure."""
        started = self._clock()
        self._drop_finished()
        preempted = self.scheduler.make_room()
        self.speculation.ended(preempted)
        admitted = self.scheduler.admit()
        self.speculation.admitted(admitted)
        if not self.scheduler.running:
            return None
        decoding = self.scheduler.decoding
        report = StepReport(
            sequences=len(self.scheduler.running),
            preemptions=len(preempted),
            prefix_queries=sum(len(sequence.tokens) for sequence in admitted),
            prefix_hits=sum(sequence.kv.length for sequence in admitted),
        )
        reading = len(self.scheduler.running) - len(decoding)
        prefilling = self.scheduler.prompt_rows(self._pace.room(len(decoding), reading))
        report.prompt_tokens = sum(map(len, prefilling.values()))
        drafting = self.speculation.trees(decoding, len(self.scheduler.running), report.prompt_tokens)
        trees = self.scheduler.fitting(decoding, drafting.trees)
        batch = [_tree_rows(sequence, tree) for sequence, tree in zip(decoding, trees, strict=True)]
        forward_started = self._clock()
        logits = self._runner.forward([*batch, *prefilling.values()])
        verify_started = self._clock()
        sequences, verified = [*decoding, *prefilling], [*trees, *[Tree()] * len(prefilling)]
        forwarded = [Forwarded(*one) for one in zip(sequences, verified, logits, strict=True) if one[2].shape[0]]
        for one, choose in zip(forwarded, choosers(forwarded, self.speculation.tolerance), strict=True):
            self._advance(one.sequence, one.tree, choose, None if one.sequence in prefilling else report)
        report.first_tokens = len(forwarded) - len(decoding)
        for sequence in self.scheduler.running:
            sequence.kv.publish(sequence.tokens)
        ended = self._clock()
        report.draft_wait_s = drafting.wait_s
        report.forward_s = verify_started - forward_started
        report.verify_s = ended - verify_started
        report.host_s = ended - started - report.draft_wait_s - report.forward_s - report.verify_s
        report.asked = len(decoding) if drafting.asked else 0
        report.tree_hits = drafting.answered
        work_s = report.forward_s + report.verify_s + report.host_s
        all_rows = sum(map(len, batch)) + report.prompt_tokens
        for sequence, rows in prefilling.items():
            sequence.prefill_s += work_s * len(rows) / all_rows
        if prefilling and decoding:
            self._pace.observe(all_rows, len(decoding) + len(prefilling), work_s)
        if decoding and len(decoding) == report.decoded_sequences:  # of a step that one failed in less is known
            alone_s = None if prefilling else work_s
            self.speculation.learn(decoding, drafting, report.draft_tokens, report.decoded_tokens, alone_s)
        self._drop_finished()
        return report

    def _drop_finished(self) -> None:
        self.speculation.ended(self.scheduler.drop_finished())

    def _advance(self, sequence: Sequence, tree: Tree, choose: Chooser, report: StepReport | None) -> None:
        """Walks the tree by the target's choices, takes their tokens, and leaves in the cache the rows of the
        accepted path.
        """
        first_node_row = sequence.kv.length - len(tree)
        try:
            walk = verify(tree, choose)
            taken = sequence.append(walk.choices)
        except Exception as error:
            # Of its own sampling or text: one request would end those of all others, and again wherever it is retried.
            self._failed_in_a_row.add(sequence.request.call)
            if len(self._failed_in_a_row) >= FAILURES_IN_A_ROW:
                raise
            sequence.fail(error)
            sequence.kv.discard()  # the tree's rows are no prefix for another, and rows that are no numbers for nobody
            return
        self._failed_in_a_row.clear()
        sequence.kv.compact(first_node_row, [first_node_row + node for node in walk.path])
        if report is not None:
            self._record(sequence, tree, walk, len(taken), report)

    @staticmethod
    def _record(sequence: Sequence, tree: Tree, walk: Walk, taken: int, report: StepReport) -> None:
        report.decoded_sequences += 1
        report.decoded_tokens += taken
        report.near_ties += sum(choice.near_tie for choice in walk.choices[:taken])
        report.tolerated += sum(choice.tolerated for choice in walk.choices[:taken])
        report.draft_tokens += len(tree)
        report.draft_levels += max(tree.depths, default=0)
        report.drafts += len(tree) > 0
        report.accepted(min(len(walk.path), taken))
        reached = {ROOT, *walk.path}
        for node, (parent, proposal) in enumerate(zip(tree.parents, proposals(tree), strict=True)):
            if parent in reached:
                sequence.calibration.observe(proposal, node in reached)


def _tree_rows(sequence: Sequence, tree: Tree) -> Rows:
    root = sequence.kv.length
    return Rows(
        kv=sequence.kv,
        tokens=[sequence.tokens[-1], *tree.tokens],
        positions=[root, *(root + depth for depth in tree.depths)],
        visible=tree.attention,
    )
