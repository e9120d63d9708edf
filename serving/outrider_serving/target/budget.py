"""What speculation may cost: the target's step time as measured, the nodes that pay, and whether asking the draft does.

Pure: time is given, nothing is read. Everything maximises goodput, accepted tokens per second of target time,
because acceptance alone does not tell: at one acceptance a step of a loaded engine gains 20 % or loses as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KNOTS_TOKENS = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096], dtype=np.float64)
LEARNING_RATE = 0.05
# One stalled step (a page fault, a noisy neighbour) must not move the estimate by more than a twentieth.
MOST_SURPRISE = 0.5


class StepTime:
    """Seconds of a target forward over n tokens: piecewise linear between knots, learnt while running.

    Not a straight line: in float32 on a CPU four tokens cost 1.7 times one and sixteen no more than eight.
    """

    def __init__(self, measured: Sequence[tuple[int, float]]) -> None:
        """`measured`: (tokens, seconds) from warm-up, in any order, one at least."""
        tokens, seconds = zip(*sorted(measured), strict=True)
        self._observed = 0
        self._seconds = np.interp(KNOTS_TOKENS, tokens, seconds)
        if len(tokens) > 1 and tokens[-1] > tokens[-2]:
            slope = max(0.0, (seconds[-1] - seconds[-2]) / (tokens[-1] - tokens[-2]))
            beyond = tokens[-1] < KNOTS_TOKENS
            self._seconds[beyond] = seconds[-1] + slope * (KNOTS_TOKENS[beyond] - tokens[-1])

    def predict(self, tokens: NDArray[np.float64]) -> NDArray[np.float64]:
        """Seconds of a forward over each of `tokens`; never less for more."""
        return np.interp(tokens, KNOTS_TOKENS, np.maximum.accumulate(self._seconds))

    def of(self, tokens: int) -> float:
        return float(self.predict(np.array([tokens], dtype=np.float64))[0])

    def observe(self, tokens: int, seconds: float) -> None:
        """Moves the curve towards what a step took: all of it, since a longer context or a slower machine is
        felt at every width, and the two knots around `tokens` once more, the nearer one more.
        """
        expected = float(np.interp(tokens, KNOTS_TOKENS, self._seconds))
        surprise = float(np.clip(seconds - expected, -MOST_SURPRISE * expected, MOST_SURPRISE * expected))
        # The first steps count for more: the machine may have been busy when it was measured.
        self._observed += 1
        rate = max(LEARNING_RATE, 1.0 / (1 + self._observed))
        self._seconds *= 1 + rate * surprise / expected
        right = int(np.clip(np.searchsorted(KNOTS_TOKENS, tokens), 1, len(KNOTS_TOKENS) - 1))
        left = right - 1
        share = (min(tokens, KNOTS_TOKENS[right]) - KNOTS_TOKENS[left]) / (KNOTS_TOKENS[right] - KNOTS_TOKENS[left])
        self._seconds[left] += rate * (1 - share) * surprise / 2
        self._seconds[right] += rate * share * surprise / 2


@dataclass(frozen=True)
class Selection:
    """nodes: the kept nodes of each sequence's tree. expected_tokens: what the step will emit. predicted_s:
    what it will take.
    """

    nodes: tuple[tuple[int, ...], ...]
    expected_tokens: float
    predicted_s: float

    @property
    def goodput(self) -> float:
        return self.expected_tokens / self.predicted_s


def select(
    paths: Sequence[Sequence[float]],
    step_time: StepTime,
    max_nodes: int,
    spent_s: float = 0.0,
    force: bool = False,
) -> Selection:
    """Chooses the nodes, over all sequences of a batch, that a step should verify.

    paths: for each sequence, the probability of each node's path. In the order of probability (a child is never
    ahead of its parent) the number of nodes is taken at which expected tokens per second are most:

        argmax over n of  (B + sum of the n best P(path)) / (T(B + n) + spent)

    which is the marginal rule P > (dT/dn) E / T where T is a straight line, and right where it has steps.
    `spent_s` is what the step has already spent on drafting. At most `max_nodes` a sequence, none of
    probability 0; `force` takes all of those.
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
    seconds = step_time.predict(sequences + np.arange(len(allowed) + 1, dtype=np.float64))
    best = len(allowed) if force else int(np.argmax(expected / (seconds + spent_s)))
    nodes: list[list[int]] = [[] for _ in range(sequences)]
    for _, node, index in allowed[:best]:
        nodes[index].append(node)
    return Selection(tuple(tuple(sorted(kept)) for kept in nodes), float(expected[best]), float(seconds[best]))


MISSES_TO_REST = 2
FIRST_REST_STEPS = 16
LONGEST_REST_STEPS = 1024
# Long enough that a run of bad luck within one answer does not stop drafting, short enough to follow a change
# of traffic.
GAIN_RATE = 0.06
# Drafting is tried before it is judged.
FIRST_GAIN = 1.5


class DraftGate:
    """Whether the next step asks the draft: by what asking has earned, with rests that double while it earns nothing.

    A gain is goodput over that of plain decoding: 1.0 earns nothing. A draft that is silent costs the wait;
    after two silent steps it rests as one that does not pay does.
    """

    def __init__(self) -> None:
        self.gain = FIRST_GAIN
        self._misses = 0
        self._rest_steps = FIRST_REST_STEPS
        self._resting = 0

    def asks(self, other_gain: float) -> bool:
        """`other_gain` is what the next step is expected to earn without the draft (by n-grams, or 1.0 for nothing)."""
        if self._resting > 0:
            return False
        return self.gain >= other_gain

    def plain_step(self) -> None:
        """A step went by without the draft."""
        if self._resting > 0:
            self._resting -= 1

    def drafted_step(self, gain: float, answered: bool) -> None:
        """A step that asked the draft earned `gain`; `answered` is false when no tree came in time."""
        self.gain += GAIN_RATE * (gain - self.gain)
        self._misses = 0 if answered else self._misses + 1
        if self.gain < 1.0 or self._misses >= MISSES_TO_REST:
            self._resting = self._rest_steps
            self._rest_steps = min(2 * self._rest_steps, LONGEST_REST_STEPS)
            self._misses = 0
            # A probe after the rest: a few steps decide whether it goes on.
            self.gain = 1.0 + GAIN_RATE
        elif self.gain > 1.1:
            self._rest_steps = FIRST_REST_STEPS
