"""What speculation may cost: the nodes that pay, and whether asking the draft does.

Pure: time is given, nothing is read. Everything maximises goodput, accepted tokens per second of target time,
because acceptance alone does not tell: at one acceptance a step of a loaded engine gains 20 % or loses as much.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from outrider_serving.engine.step_time import StepTime


@dataclass(frozen=True)
class Selection:
    """nodes: the kept nodes of each sequence's tree. expected_tokens: what the step will emit. predicted_s:
    what it will take, the reading of prompts left out.
    """

    nodes: tuple[tuple[int, ...], ...]
    expected_tokens: float
    predicted_s: float

    @property
    def goodput(self) -> float:
        return self.expected_tokens / self.predicted_s


# What a tree earns is a belief, what it costs is sure, and those pay for it as well who have no nodes in it: eight
# nodes beside eight sequences cost 4 % of a step on a CPU, and where they were believed to bring 5 % they brought
# nothing as often.
COST_MARGIN = 2.0


def select(
    paths: Sequence[Sequence[float]],
    step_time: StepTime,
    max_nodes: int,
    prompt_tokens: int = 0,
    spent_s: float = 0.0,
    force: bool = False,
) -> Selection:
    """Chooses the nodes, over all sequences of a batch, that a step should verify.

    paths: for each sequence, the probability of each node's path. In the order of probability (a child is never
    ahead of its parent) the number of nodes is taken at which expected tokens per second are most:

        argmax over n of  (B + sum of the n best P(path)) / (T(B) + T(B + prompt + n) - T(B + prompt) + spent)

    which is the marginal rule P > (dT/dn) E / T where T is a straight line, and right where it has steps.
    `prompt_tokens` are read in the same step: beside them a node costs what a token of them does, however little it
    costs alone. A token is worth no more for them, though it comes from a longer step: what it saves is a plain step's
    share, for the prompts have to be read all the same. `spent_s` is what the step has already spent on drafting. At
    most `max_nodes` a sequence, none of probability 0, and of several sequences none at all where the best number would
    not pay if it cost COST_MARGIN times as much; `force` takes all of those.
    """
    sequences = len(paths)
    ranked = sorted(
        (-probability, node, index)
        for index, path in enumerate(paths)
        for node, probability in enumerate(path)
        if probability > 0
    )
    taken_of = [0] * sequences
    allowed = []
    for candidate in ranked:
        if taken_of[candidate[2]] < max_nodes:
            taken_of[candidate[2]] += 1
            allowed.append(candidate)
    expected = sequences + np.cumsum([0.0] + [-negative for negative, _, _ in allowed])
    rows = sequences + prompt_tokens + np.arange(len(allowed) + 1, dtype=np.float64)
    seconds = step_time.predict(rows, sequences)
    seconds += step_time.of(sequences, sequences) - seconds[0]
    goodput = expected / (seconds + spent_s)
    best = int(np.argmax(goodput))
    margin = COST_MARGIN - 1 if sequences > 1 else 0.0
    if expected[best] / (seconds[best] + spent_s + margin * (seconds[best] - seconds[0])) < goodput[0]:
        best = 0
    if force:
        best = len(allowed)
    nodes: list[list[int]] = [[] for _ in range(sequences)]
    for _, node, index in allowed[:best]:
        nodes[index].append(node)
    return Selection(tuple(tuple(sorted(kept)) for kept in nodes), float(expected[best]), float(seconds[best]))


# Of a tree, its root included: so many rows a sequence are what a step is compared with that has one of each.
TREE_ROWS = 4


def node_s(step_time: StepTime, sequences: int) -> float:
    """What each node of the trees of so many sequences costs a step, in seconds."""
    with_trees_s = step_time.of(TREE_ROWS * sequences, sequences)
    return (with_trees_s - step_time.of(sequences, sequences)) / ((TREE_ROWS - 1) * sequences)


MISSES_TO_REST = 2
FIRST_REST_STEPS = 16
# What a probe has lost is to be so little of the rest that follows: a draft that reads on in long sequences loses more
# of a step than one that guesses a token.
MOST_LOST_SHARE = 0.02
# A probe of a few steps that loses a third costs less than half a per cent of such a rest.
LONGEST_REST_STEPS = 256
# The last few dozen steps that asked decide: a run of bad luck within one answer does not stop drafting, a change of
# traffic does.
FADE = 0.97
# Drafting is tried before it is judged: it starts as if so many steps had earned this.
PRIOR_STEPS = 4
FIRST_GAIN = 1.5
PROBE_GAIN = 1.05


class DraftGate:
    """Whether the next step asks the draft: by what asking has earned, with rests that double while it earns nothing.

    The gain is the time that plain decoding would have taken for the same tokens over the time that was spent, waits
    for prompts that the draft had to read included: 1.0 earns nothing. A draft that is silent costs the wait;
    after two silent steps it rests as one that does not pay does.
    """

    def __init__(self, first_gain: float = FIRST_GAIN) -> None:
        self._prior_gain = first_gain
        self._plain_s = self._spent_s = 0.0
        self._lost_s = 0.0
        self._plain_step_s = math.inf
        self._misses = 0
        self._rest_steps = FIRST_REST_STEPS
        self._resting = 0

    @property
    def gain(self) -> float:
        return self._plain_s / self._spent_s if self._spent_s else self._prior_gain

    def asks(self, other_gain: float) -> bool:
        """`other_gain` is what the next step is expected to earn without the draft (by n-grams, or 1.0 for nothing)."""
        if self._resting > 0:
            return False
        return self.gain >= other_gain

    def plain_step(self) -> None:
        """A step went by without the draft."""
        if self._resting > 0:
            self._resting -= 1

    def drafted_step(self, plain_s: float, spent_s: float, answered: bool) -> None:
        """A step that asked the draft spent `spent_s` on what plain steps would have taken `plain_s` for; `answered` is
        false when no tree came in time.
        """
        if not self._spent_s:
            # Of the smaller: a first step that waits for a prompt must not give the prior the weight of its wait.
            self._spent_s = PRIOR_STEPS * min(plain_s, spent_s)
            self._plain_s = self._prior_gain * self._spent_s
        self._plain_s = FADE * self._plain_s + plain_s
        self._spent_s = FADE * self._spent_s + spent_s
        self._lost_s = max(0.0, self._lost_s + spent_s - plain_s)
        # A step in which nothing was accepted takes as long for its tokens as a plain one.
        self._plain_step_s = min(self._plain_step_s, plain_s)
        self._misses = 0 if answered else self._misses + 1
        if self.gain < 1.0 or self._misses >= MISSES_TO_REST:
            self._rest()
        elif self.gain > 1.1:
            self._rest_steps = FIRST_REST_STEPS

    def _rest(self) -> None:
        lost_steps = self._lost_s / self._plain_step_s
        self._resting = min(max(self._rest_steps, math.ceil(lost_steps / MOST_LOST_SHARE)), LONGEST_REST_STEPS)
        self._lost_s, self._plain_step_s = 0.0, math.inf
        self._rest_steps = min(2 * self._rest_steps, LONGEST_REST_STEPS)
        self._misses = 0
        # A probe after the rest: a few steps decide whether it goes on.
        self._prior_gain = PROBE_GAIN
        self._plain_s = self._spent_s = 0.0


class DraftGates:
    """A gate for each doubling of the batch: what pays alone may cost under load, at the same acceptance.

    One switch for all loads would go on drafting for dozens of steps after a surge, and rest for as many after it.
    """

    def __init__(self, step_time: StepTime) -> None:
        self._step_time = step_time
        self._gates: dict[int, DraftGate] = {}

    def at(self, sequences: int) -> DraftGate:
        """The gate for a batch of so many. A load not seen yet starts from what the nearest lighter one earns, by as
        much less as rows are dearer there: to find out, a draft has to read all prompts.
        """
        load = sequences.bit_length()
        if load not in self._gates:
            lighter = max((seen for seen in self._gates if seen < load), default=None)
            known = FIRST_GAIN if lighter is None else self._gates[lighter].gain
            gain = known * self._ease(load) / self._ease(lighter or 1)
            self._gates[load] = DraftGate(min(FIRST_GAIN, max(PROBE_GAIN, gain)))
        return self._gates[load]

    def _ease(self, load: int) -> float:
        """How little trees cost: a plain step's time, over that of one with trees for all."""
        sequences = 2 ** (load - 1)
        return self._step_time.of(sequences, sequences) / self._step_time.of(TREE_ROWS * sequences, sequences)


@dataclass(frozen=True)
class Unread:
    """A sequence that the draft has not read. tokens: to be read, which took the target `prefill_s`. remaining: tokens
    that may still come. undrafted_tokens: that steps of its own without the draft gave, `undrafted_s` long.
    """

    tokens: int
    prefill_s: float
    remaining: int
    undrafted_tokens: int = 0
    undrafted_s: float = 0.0


class Opening:
    """Whether a draft that shares the target's hardware is to read a sequence: what it would save of the tokens that
    are still to come, against what reading the prompt takes from the target. Under load a token costs the target little
    and a prompt costs the draft as much as ever.
    """

    # What it saves is a belief and comes later, what it costs is sure, and all others stand still meanwhile. At 1 a
    # batch of 8 with answers of 24 tokens came to 0.7 of plain decoding. One stream alone gives up nobody's time: it
    # needs the margin only until it has shown for itself what n-grams earn, or do not.
    MARGIN = 2.0
    # What n-grams earn in others counts as so many steps of its own.
    OTHERS_STEPS = 4.0

    # Until it has been seen: of the time that the target took for the prompt.
    FIRST_SHARE = 0.5
    RATE = 0.2
    # Of the time that goes by without the draft, what may go into reading on trial: what is believed is of the last
    # reading, and a draft that was slow for a moment would never be asked again where answers are short.
    TRIAL_SHARE = 0.005

    def __init__(self) -> None:
        self._levels_s: float | None = None  # that a step waits whose sequences have all been read
        self._reading_s = self._read_tokens = 0.0
        self._opened: set[int] = set()
        self._for_trial_s = 0.0

    def opened(self, sequence: int) -> bool:
        return sequence in self._opened

    def pays(self, unread: Unread, sequences: int, plain_step_s: float, gain: float, other_gain: float) -> bool:
        """sequences: that share a step, which takes `plain_step_s` of plain decoding. gain: how many times as fast they
        come with the draft; other_gain: without it, by n-grams.
        """
        return self._saves(self._read_s(unread), unread, sequences, plain_step_s, gain, other_gain)

    def would_pay(self, unread: Unread, sequences: int, plain_step_s: float, other_gain: float) -> bool:
        """Whether a draft would read it of which nothing is known yet."""
        return self._saves(self._first_read_s(unread), unread, sequences, plain_step_s, FIRST_GAIN, other_gain)

    def affords(self, unread: Iterable[Unread]) -> bool:
        """Whether the time that went by without the draft has paid for reading them on trial."""
        return sum(map(self._read_s, unread)) < self._for_trial_s

    def _saves(
        self, read_s: float, unread: Unread, sequences: int, plain_step_s: float, gain: float, other_gain: float
    ) -> bool:
        steps = self.OTHERS_STEPS + unread.undrafted_s / plain_step_s
        own_gain = (self.OTHERS_STEPS * other_gain + unread.undrafted_tokens) / steps
        plain_s = unread.remaining * plain_step_s / sequences
        saved_s = plain_s * (1.0 / max(1.0, own_gain) - 1.0 / max(1.0, gain))
        margin = self.MARGIN if sequences > 1 else 1.0 + (self.MARGIN - 1.0) * self.OTHERS_STEPS / steps
        return saved_s > margin * read_s

    def _first_read_s(self, unread: Unread) -> float:
        return self.FIRST_SHARE * unread.prefill_s

    def _read_s(self, unread: Unread) -> float:
        if not self._read_tokens:
            return self._first_read_s(unread)
        return unread.tokens * max(0.0, self._reading_s) / self._read_tokens

    def plain_step(self, step_s: float) -> None:
        """A step went by without the draft."""
        self._for_trial_s += self.TRIAL_SHARE * step_s

    def asked(self, sequences: Iterable[int], unread: int, wait_s: float, trial: bool = False) -> float:
        """A step waited so long; meanwhile the draft read `unread` tokens of sequences that were asked for at first.
        Returns how much of that is paid for already: the reading, on `trial`.

        It grew their trees as well, as in any step: of a short prompt that is most of the wait, and long ones would
        never be read for it.
        """
        self._opened.update(sequences)
        levels_s = wait_s if self._levels_s is None else self._levels_s
        reading_s = wait_s - levels_s
        if not unread:
            self._levels_s = levels_s + self.RATE * reading_s
        elif self._levels_s is not None:
            # A trial puts to the test what was believed before it.
            kept = 0.0 if trial else 1.0 - self.RATE
            self._reading_s = kept * self._reading_s + reading_s
            self._read_tokens = kept * self._read_tokens + unread
        if not trial:
            return 0.0
        self._for_trial_s = 0.0
        return max(0.0, reading_s)

    def forget(self, sequence: int) -> None:
        self._opened.discard(sequence)


class NodeBudget:
    """How many nodes a sequence the draft is told to grow: twice what the target lately found worth verifying, so that
    under load the draft stops spending with it, and a lighter load is noticed.
    """

    LEAST = 4
    RATE = 0.1

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = float(most)

    @property
    def max_nodes(self) -> int:
        return min(self._most, self.LEAST + math.ceil(2 * self._kept))

    def selected(self, nodes: float) -> None:
        """A step kept so many nodes a sequence."""
        self._kept += self.RATE * (nodes - self._kept)
