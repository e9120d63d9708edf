"""The target's loop body: admit, draft, forward, verify, commit. No threads, no I/O but the drafter's."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from outrider_serving.engine.attention import Rows
from outrider_serving.engine.calibration import Calibration
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.sampler import Choice, choose
from outrider_serving.engine.tree import ROOT, Tree, merge
from outrider_serving.target.budget import DraftGate, Selection, StepTime, select
from outrider_serving.target.drafters import Ask, Drafter
from outrider_serving.target.sequence import Sequence
from outrider_serving.target.verify import Walk, verify

# A running average of the last few hundred steps.
GAIN_FADE = 0.995
PATIENCE_STEPS = 2.0


@dataclass(frozen=True)
class SpeculationPolicy:
    """spec.speculation of the resource, and how draft and target share hardware (decided by who started them)."""

    mode: Literal["Auto", "Always", "Off"] = "Auto"
    run_ahead: bool = False
    max_depth: int = 8
    max_branches: int = 4
    max_nodes: int = 32
    min_probability: float = 0.02
    draft_patience_s: float | None = None
    ngrams: bool = True


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
    accepted_per_position: list[int] = field(default_factory=list)
    near_ties: int = 0
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


@dataclass(frozen=True)
class Drafting:
    """The trees that a step verifies, one a decoding sequence; whether the draft was asked for them, and what
    it took.
    """

    trees: list[Tree]
    asked: bool = False
    answered: int = 0
    wait_s: float = 0.0


class TargetStep:
    """The sequences that run and wait, and the step that advances them all."""

    def __init__(
        self,
        runner: ModelRunner,
        drafter: Drafter,
        policy: SpeculationPolicy,
        step_time: StepTime,
        max_num_seqs: int,
        max_batched_tokens: int = 512,
    ) -> None:
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self.calibration = Calibration()
        self.step_time = step_time
        self._runner = runner
        self._drafter = drafter
        self._policy = policy
        self._max_num_seqs = max_num_seqs
        self._max_batched_tokens = max_batched_tokens
        self._gate = DraftGate()
        self._plain_s = 1.0
        self._spent_s = 1.0

    @property
    def goodput_gain(self) -> float:
        """Tokens a second over what plain steps would have given, lately; 1.0 while nothing is earned."""
        return self._plain_s / self._spent_s

    @property
    def kv_rows(self) -> int:
        return sum(sequence.kv.length for sequence in self.running)

    def step(self) -> StepReport | None:
        """Advances every running sequence: a chunk of its prompt, or a verified tree. None when there is
        nothing to do.
        """
        started = time.perf_counter()
        self._drop_finished()
        self._admit()
        if not self.running:
            return None
        decoding = [sequence for sequence in self.running if sequence.decoding]
        report = StepReport(sequences=len(self.running))
        drafting = self._draft(decoding)
        batch = self._tree_rows(decoding, drafting.trees)
        prefilling = self._prompt_rows(self._max_batched_tokens - sum(len(rows) for rows in batch.values()))
        forward_started = time.perf_counter()
        logits = self._runner.forward([*batch.values(), *prefilling.values()])
        verify_started = time.perf_counter()
        decoded = len(decoding)
        for sequence, tree, row_logits in zip(decoding, drafting.trees, logits[:decoded], strict=True):
            self._advance(sequence, tree, row_logits, report)
        for (sequence, rows), row_logits in zip(prefilling.items(), logits[decoded:], strict=True):
            report.prompt_tokens += len(rows)
            if row_logits.shape[0]:
                self._advance(sequence, Tree(), row_logits, report=None)
                report.first_tokens += 1
        ended = time.perf_counter()
        report.draft_wait_s = drafting.wait_s
        report.forward_s = verify_started - forward_started
        report.verify_s = ended - verify_started
        report.host_s = ended - started - report.draft_wait_s - report.forward_s - report.verify_s
        report.asked = len(decoding) if drafting.asked else 0
        report.tree_hits = drafting.answered
        self._learn(decoding, drafting, prefilling, report)
        self._drop_finished()
        return report

    def _drop_finished(self) -> None:
        for sequence in [s for s in self.running if s.finished]:
            self.running.remove(sequence)
            self._drafter.close(sequence.id)
        for sequence in [s for s in self.waiting if s.finished]:
            self.waiting.remove(sequence)

    def _admit(self) -> None:
        while self.waiting and len(self.running) < self._max_num_seqs:
            sequence = self.waiting.popleft()
            self.running.append(sequence)
            if self._policy.run_ahead and self._drafts and self._drafter.available:
                # On hardware of its own the draft reads the prompt while the target does.
                self._drafter.ask([self._ask_for(sequence)])

    @property
    def _drafts(self) -> bool:
        return self._policy.mode != "Off"

    def _draft(self, decoding: list[Sequence]) -> Drafting:
        """The trees of this step: n-grams, and the draft's if asking it is expected to earn more than they do."""
        if not self._drafts or not decoding:
            return Drafting([Tree()] * len(decoding))
        lookups = [self._lookup(sequence) for sequence in decoding]
        asks = [self._ask_for(sequence) for sequence in decoding if sequence.remaining > 1]
        if not asks or not self._drafter.available or not self._asking_pays(decoding, lookups):
            return Drafting(self._selected(decoding, lookups, 0.0))
        started = time.perf_counter()
        self._drafter.ask(asks)
        found = self._drafter.collect(asks, *self._patience_s(decoding))
        wait_s = time.perf_counter() - started
        merged = [merge(found.get(s.id, Tree()), lookup) for s, lookup in zip(decoding, lookups, strict=True)]
        return Drafting(self._selected(decoding, merged, wait_s), True, len(found), wait_s)

    def _lookup(self, sequence: Sequence) -> Tree:
        if not self._policy.ngrams:
            return Tree()
        sequence.ngrams.extend(sequence.tokens)
        return sequence.ngrams.propose(self._depth(sequence))

    def _depth(self, sequence: Sequence) -> int:
        """The bonus token comes on top of an accepted path, so a path is one shorter than what remains."""
        return min(self._policy.max_depth, sequence.remaining - 1)

    def _asking_pays(self, decoding: list[Sequence], lookups: list[Tree]) -> bool:
        if self._policy.mode == "Always":
            return True
        plain = len(decoding) / self.step_time.of(len(decoding))
        return self._gate.asks(self._select(decoding, lookups, 0.0).goodput / plain)

    def _ask_for(self, sequence: Sequence) -> Ask:
        return Ask(
            sequence=sequence.id,
            tokens=sequence.tokens,
            sampling=sequence.sampling,
            max_nodes=self._policy.max_nodes,
            target_step_s=self.step_time.of(max(1, len(self.running))),
        )

    def _patience_s(self, decoding: list[Sequence]) -> tuple[float, float]:
        """How long the draft may be silent, and how long a step waits at most, in seconds.

        By default a few plain steps of silence, so that one stall of the machine is not taken for a dead draft, and for
        a sequence's first tree as long again as its prompt took the target; and as many levels as were asked for, since
        a draft could go on sending for ever. The gate bounds the rest: after two silent steps the draft rests.
        """
        if self._policy.draft_patience_s is not None:
            return self._policy.draft_patience_s, self._policy.draft_patience_s
        first = max(s.prefill_s if s.output_length <= 1 else 0.0 for s in decoding)
        silence_s = PATIENCE_STEPS * self.step_time.of(len(decoding)) + first
        return silence_s, silence_s * (self._policy.max_depth + 1)

    def _select(self, decoding: list[Sequence], trees: list[Tree], spent_s: float) -> Selection:
        paths = []
        for sequence, tree in zip(decoding, trees, strict=True):
            depth = self._depth(sequence)
            conditional = [
                sequence.calibration.estimate(source, score) if level <= depth else 0.0
                for source, score, level in zip(tree.sources, tree.scores, tree.depths, strict=True)
            ]
            least = self._policy.min_probability
            paths.append([path if path >= least else 0.0 for path in tree.path_probabilities(conditional)])
        return select(paths, self.step_time, self._policy.max_nodes, spent_s, force=self._policy.mode == "Always")

    def _selected(self, decoding: list[Sequence], trees: list[Tree], spent_s: float) -> list[Tree]:
        chosen = self._select(decoding, trees, spent_s).nodes
        return [tree.keep(nodes) for tree, nodes in zip(trees, chosen, strict=True)]

    def _tree_rows(self, decoding: list[Sequence], trees: list[Tree]) -> dict[int, Rows]:
        batch = {}
        for sequence, tree in zip(decoding, trees, strict=True):
            root = sequence.kv.length
            batch[sequence.id] = Rows(
                kv=sequence.kv,
                tokens=[sequence.tokens[-1], *tree.tokens],
                positions=[root, *(root + depth for depth in tree.depths)],
                visible=tree.attention,
            )
        return batch

    def _prompt_rows(self, room: int) -> dict[Sequence, Rows]:
        """Chunks of the prompts that are not in the cache yet, first come first, as many tokens as there is
        room for.
        """
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

    def _advance(self, sequence: Sequence, tree: Tree, logits: torch.Tensor, report: StepReport | None) -> None:
        """Walks the tree by the target's choices, takes their tokens, and leaves in the cache the rows of the
        accepted path.
        """
        position = len(sequence.tokens)
        first_node_row = sequence.kv.length - len(tree)

        def chosen(node: int) -> Choice:
            depth = 0 if node == ROOT else tree.depths[node]
            return choose(logits[node + 1], sequence.sampling, position + depth)

        walk = verify(tree, chosen)
        taken = sequence.append(walk.tokens)
        sequence.kv.compact(first_node_row, [first_node_row + node for node in walk.path])
        if report is not None:
            self._record(sequence, tree, walk, len(taken), report)

    @staticmethod
    def _record(sequence: Sequence, tree: Tree, walk: Walk, taken: int, report: StepReport) -> None:
        report.decoded_sequences += 1
        report.decoded_tokens += taken
        report.near_ties += sum(choice.near_tie for choice in walk.choices[:taken])
        report.draft_tokens += len(tree)
        report.drafts += len(tree) > 0
        report.accepted(min(len(walk.path), taken))
        reached = {ROOT, *walk.path}
        for node, parent in enumerate(tree.parents):
            if parent in reached:
                sequence.calibration.observe(tree.sources[node], tree.scores[node], node in reached)

    def _learn(
        self,
        decoding: list[Sequence],
        drafting: Drafting,
        prefilling: Mapping[Sequence, Rows],
        report: StepReport,
    ) -> None:
        """A step that also read prompts says nothing of what decoding costs."""
        work_s = report.forward_s + report.verify_s + report.host_s
        for sequence in prefilling:
            sequence.prefill_s += work_s
        if prefilling:
            return
        self.step_time.observe(len(decoding) + report.draft_tokens, work_s)
        plain_s = report.decoded_tokens * self.step_time.of(len(decoding)) / len(decoding)
        spent_s = work_s + drafting.wait_s
        self._plain_s = GAIN_FADE * self._plain_s + plain_s
        self._spent_s = GAIN_FADE * self._spent_s + spent_s
        if drafting.asked:
            self._gate.drafted_step(plain_s / spent_s, drafting.answered > 0)
        else:
            self._gate.plain_step()
