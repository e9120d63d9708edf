"""What a step verifies: candidates from n-grams and the draft, and of those the nodes that pay."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Literal

from outrider_serving.engine.calibration import Calibration, Proposal
from outrider_serving.engine.request import Request
from outrider_serving.engine.step_time import StepTime
from outrider_serving.engine.tree import Tree, merge
from outrider_serving.target.budget import DraftGates, NodeBudget, Opening, Selection, Unread, node_s, select
from outrider_serving.target.drafters import Ask, Drafter
from outrider_serving.target.sequence import Sequence

# A running average of the last few hundred steps.
GAIN_FADE = 0.995
PATIENCE_STEPS = 2.0
# Of those that wait for the draft: fewer are not worth the others' time.
LEAST_DRAFTED_SHARE = 0.5
# A message there and back, on a busy machine: where a step takes a millisecond, two of them are less.
LEAST_PATIENCE_S = 0.02


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
    tolerance: float = 0.0


@dataclass(frozen=True)
class Drafting:
    """The trees that a step verifies, one a decoding sequence; whether the draft was asked for them, and what
    it took. trial_s: what of that went into reading on trial. other_gain: what n-grams alone were expected to earn in
    its place; 1.0 where they do not.
    """

    trees: list[Tree]
    asked: bool = False
    answered: int = 0
    wait_s: float = 0.0
    trial_s: float = 0.0
    other_gain: float = 1.0


class Speculation:
    """Asks the draft when that is expected to pay, chooses the nodes, and learns from what a step took."""

    def __init__(
        self,
        drafter: Drafter,
        policy: SpeculationPolicy,
        step_time: StepTime,
        allowed: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """allowed: whether the draft may be asked just now; looked at in each step. n-grams cost nobody anything, and
        go on.
        """
        # Beliefs under noise are other figures than those of greedy decoding.
        self._calibration = {greedy: Calibration() for greedy in (True, False)}
        self.step_time = step_time
        self._drafter = drafter
        self._policy = policy
        self._allowed = allowed
        self._clock = clock
        self._followed: set[int] = set()
        self._gates = DraftGates(step_time)
        self._opening = Opening()
        self._budget = NodeBudget(policy.max_nodes)
        self._plain_s = 1.0
        self._undrafted_s = 1.0
        self._spent_s = 1.0

    @property
    def goodput_gain(self) -> float:
        """Tokens a second over what plain steps would have given, lately; 1.0 while nothing is earned."""
        return self._plain_s / self._spent_s

    @property
    def draft_gain(self) -> float:
        """Tokens a second over what there would have been without the draft, lately: by n-grams, where they earn."""
        return self._undrafted_s / self._spent_s

    @property
    def tolerance(self) -> float:
        """How many nats below the best choice a drafted token may be and still be taken; above 0 it is not lossless."""
        return self._policy.tolerance

    def calibration(self, request: Request) -> Calibration:
        """A new one, for one sequence, that starts from what its kind has shown."""
        return Calibration(self._calibration[request.sampling.greedy])

    def admitted(self, sequences: Many[Sequence]) -> None:
        """On hardware of its own the draft reads the prompts while the target does."""
        if sequences and self._policy.run_ahead and self._may_ask and self._drafter.available:
            self._ask(self._asks(sequences, len(sequences)))

    def ended(self, sequences: Many[Sequence]) -> None:
        for sequence in sequences:
            self._close(sequence.id)

    def _ask(self, asks: Many[Ask]) -> None:
        self._followed.update(ask.sequence for ask in asks)
        self._drafter.ask(asks)

    def _close(self, sequence: int) -> None:
        self._followed.discard(sequence)
        self._drafter.close(sequence)
        self._opening.forget(sequence)

    @property
    def _may_ask(self) -> bool:
        return self._policy.mode != "Off" and self._allowed()

    def trees(self, decoding: list[Sequence], running: int, prompt_tokens: int = 0) -> Drafting:
        """The trees of this step: n-grams, and the draft's if asking it is expected to earn more than they do. running:
        sequences that decode, and those whose prompts are read and which will. prompt_tokens: that the step reads too.
        """
        may_ask = self._may_ask
        if not may_ask:
            # So that the draft stops spending on them; it reads them anew when it may be asked again.
            for sequence_id in list(self._followed):
                self._close(sequence_id)
        if not decoding or self._policy.mode == "Off":
            return Drafting([Tree()] * len(decoding))
        lookups = [self._lookup(sequence) for sequence in decoding]
        undrafted = self._select(decoding, lookups, prompt_tokens)
        without = Drafting(_kept(lookups, undrafted))
        if not may_ask:
            return without
        other_gain = self._over_plain(undrafted, len(decoding))
        if not self._drafter.available or not self._asking_pays(len(decoding), other_gain):
            return without
        drafted = [sequence for sequence in decoding if sequence.remaining > 1 and self._opens(sequence, running)]
        least = LEAST_DRAFTED_SHARE * len(decoding)
        trial = len(drafted) < least
        if trial:
            drafted = self._on_trial(decoding, running)
        if len(drafted) < least:
            return without
        asks = self._asks(drafted, len(decoding))
        started = self._clock()
        self._ask(asks)
        found = self._drafter.collect(asks, *self._patience_s(decoding))
        wait_s = self._clock() - started
        unread = sum(len(sequence.tokens) for sequence in drafted if not self._opening.opened(sequence.id))
        trial_s = self._opening.asked([sequence.id for sequence in drafted], unread, wait_s, trial)
        merged = [merge(found.get(s.id, Tree()), lookup) for s, lookup in zip(decoding, lookups, strict=True)]
        selected = _kept(merged, self._select(decoding, merged, prompt_tokens, wait_s))
        self._budget.selected(sum(map(len, selected)) / len(selected))
        return Drafting(selected, True, len(found), wait_s, trial_s, other_gain)

    def _opens(self, sequence: Sequence, sequences: int) -> bool:
        """Whether the draft has read the sequence, or is worth its reading it."""
        if self._policy.mode == "Always" or self._policy.run_ahead or self._opening.opened(sequence.id):
            return True
        plain_step_s = self.step_time.of(sequences, sequences)
        gain = self._gates.at(sequences).gain
        return self._opening.pays(_unread(sequence), sequences, plain_step_s, gain, self._ngram_gain)

    def _on_trial(self, decoding: list[Sequence], sequences: int) -> list[Sequence]:
        """Those that the draft is to read to see whether it still does not pay; none where that would cost too much."""
        plain_step_s = self.step_time.of(sequences, sequences)
        candidates = [sequence for sequence in decoding if sequence.remaining > 1]
        unread = {s.id: _unread(s) for s in candidates if not self._opening.opened(s.id)}
        left = {
            sequence
            for sequence, of_it in unread.items()
            if not self._opening.would_pay(of_it, sequences, plain_step_s, self._ngram_gain)
        }
        if not self._opening.affords(of_it for sequence, of_it in unread.items() if sequence not in left):
            return []
        return [sequence for sequence in candidates if sequence.id not in left]

    @property
    def _ngram_gain(self) -> float:
        """What n-grams have lately earned without the draft."""
        return self._plain_s / self._undrafted_s

    def _lookup(self, sequence: Sequence) -> Tree:
        if not self._policy.ngrams:
            return Tree()
        sequence.ngrams.extend(sequence.tokens)
        return sequence.ngrams.propose(self._depth(sequence))

    def _depth(self, sequence: Sequence) -> int:
        """The bonus token comes on top of an accepted path, so a path is one shorter than what remains."""
        return min(self._policy.max_depth, sequence.remaining - 1)

    def _over_plain(self, selection: Selection, sequences: int) -> float:
        """Its goodput over that of the same step without trees."""
        return selection.goodput * self.step_time.of(sequences, sequences) / sequences

    def _asking_pays(self, sequences: int, other_gain: float) -> bool:
        return self._policy.mode == "Always" or self._gates.at(sequences).asks(other_gain)

    def _asks(self, drafted: Many[Sequence], sequences: int) -> list[Ask]:
        """For those that the draft is to grow trees for, of so many that wait for it. It weighs its levels against what
        the target makes of the time without them, for each sequence that it knows of: of a step its share.
        """
        step_s = len(drafted) / sequences * self.step_time.of(sequences, sequences)
        of_node_s = node_s(self.step_time, sequences)
        return [
            Ask(
                sequence=sequence.id,
                tokens=sequence.tokens,
                prompt_tokens=sequence.prompt_length,
                sampling=sequence.sampling,
                max_nodes=self._budget.max_nodes,
                max_depth=max(1, sequence.remaining - 1),
                target_step_s=step_s,
                target_node_s=of_node_s,
            )
            for sequence in drafted
        ]

    def _patience_s(self, decoding: list[Sequence]) -> tuple[float, float]:
        """How long the draft may be silent, and how long a step waits at most, in seconds.

        By default a few plain steps of silence, so that one stall of the machine is not taken for a dead draft, and for
        first trees as long again as the sequences' prompts took the target; and as many levels as were asked for, since
        a draft could go on sending for ever. The gate bounds the rest: after two silent steps the draft rests.
        """
        if self._policy.draft_patience_s is not None:
            return self._policy.draft_patience_s, self._policy.draft_patience_s
        first = sum(s.prefill_s for s in decoding if s.output_length <= 1)
        silence_s = max(LEAST_PATIENCE_S, PATIENCE_STEPS * self.step_time.of(len(decoding), len(decoding))) + first
        return silence_s, silence_s * (self._policy.max_depth + 1)

    def _select(
        self, decoding: list[Sequence], trees: list[Tree], prompt_tokens: int, spent_s: float = 0.0
    ) -> Selection:
        paths = []
        for sequence, tree in zip(decoding, trees, strict=True):
            depth = self._depth(sequence)
            conditional = [
                sequence.calibration.estimate(proposal) if proposal.depth <= depth else 0.0
                for proposal in proposals(tree)
            ]
            least = self._policy.min_probability
            paths.append([path if path >= least else 0.0 for path in tree.path_probabilities(conditional)])
        always = self._policy.mode == "Always"
        return select(paths, self.step_time, self._policy.max_nodes, prompt_tokens, spent_s, force=always)

    def learn(
        self, decoding: list[Sequence], drafting: Drafting, draft_tokens: int, tokens: int, work_s: float | None
    ) -> None:
        """A step verified `draft_tokens` nodes, emitted `tokens` and took `work_s` besides waiting for the draft. None
        where it read prompts as well: then what it would have taken without counts, for under load there is no other.
        """
        sequences = len(decoding)
        if work_s is None:
            work_s = self.step_time.of(sequences + draft_tokens, sequences)
        else:
            self.step_time.observe(sequences + draft_tokens, work_s, sequences)
        plain_s = tokens * self.step_time.of(sequences, sequences) / sequences
        spent_s = work_s + drafting.wait_s
        undrafted_s = plain_s / max(1.0, drafting.other_gain) if drafting.asked else spent_s
        self._plain_s = GAIN_FADE * self._plain_s + plain_s
        self._undrafted_s = GAIN_FADE * self._undrafted_s + undrafted_s
        self._spent_s = GAIN_FADE * self._spent_s + spent_s
        for sequence in decoding:
            if self._opening.opened(sequence.id):
                sequence.undrafted_from, sequence.undrafted_s = len(sequence.tokens), 0.0
            else:
                sequence.undrafted_s += work_s
        gate = self._gates.at(len(decoding))
        if drafting.asked:
            gate.drafted_step(plain_s, spent_s - drafting.trial_s, drafting.answered > 0)
        else:
            gate.plain_step()
            self._opening.plain_step(spent_s)


def _unread(sequence: Sequence) -> Unread:
    return Unread(
        tokens=len(sequence.tokens),
        prefill_s=sequence.prefill_s,
        remaining=sequence.remaining,
        undrafted_tokens=len(sequence.tokens) - sequence.undrafted_from,
        undrafted_s=sequence.undrafted_s,
    )


def _kept(trees: Many[Tree], selection: Selection) -> list[Tree]:
    return [tree.keep(nodes) for tree, nodes in zip(trees, selection.nodes, strict=True)]


def proposals(tree: Tree) -> list[Proposal]:
    return [Proposal(*known) for known in zip(tree.sources, tree.scores, tree.depths, tree.ranks, strict=True)]
