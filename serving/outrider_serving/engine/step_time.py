"""What a forward over so many tokens takes, as measured and as followed while running.

Pure: times are given, nothing is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

KNOTS_TOKENS = np.array([1, 2, 4, 8, 16, 17, 32, 33, 64, 128, 256, 512, 1024, 4096], dtype=np.float64)
LEARNING_RATE = 0.05
# One stalled step (a page fault, a noisy neighbour) must not move the estimate by more than a twentieth.
MOST_SURPRISE = 0.5


class StepTime:
    """Seconds of a forward over n tokens of so many sequences: piecewise linear between knots in the tokens, and as
    much again for each further sequence; learnt while running.

    Not a straight line: in float32 on a CPU four tokens cost 1.7 times one and sixteen no more than eight. Attention
    goes sequence by sequence: 8 of one token take 38 ms on a small model where 8 tokens of one take 29.
    """

    def __init__(self, measured: Sequence[tuple[int, float]], sequence_s: float = 0.0) -> None:
        """`measured`: (tokens, seconds) of one sequence from warm-up, in any order, one at least. sequence_s: what each
        further sequence adds.
        """
        tokens, seconds = zip(*sorted(measured), strict=True)
        self._observed = 0
        self._sequence_s = sequence_s
        self._seconds = np.interp(KNOTS_TOKENS, tokens, seconds)
        if len(tokens) > 1 and tokens[-1] > tokens[-2]:
            slope = max(0.0, (seconds[-1] - seconds[-2]) / (tokens[-1] - tokens[-2]))
            beyond = tokens[-1] < KNOTS_TOKENS
            self._seconds[beyond] = seconds[-1] + slope * (KNOTS_TOKENS[beyond] - tokens[-1])

    @property
    def sequence_s(self) -> float:
        """What each further sequence adds, in seconds."""
        return self._sequence_s

    def predict(self, tokens: NDArray[np.float64], sequences: int = 1) -> NDArray[np.float64]:
        """Seconds of a forward over each of `tokens`; never less for more."""
        curve = np.interp(tokens, KNOTS_TOKENS, np.maximum.accumulate(self._seconds))
        return curve + self._sequence_s * max(0, sequences - 1)

    def of(self, tokens: int, sequences: int = 1) -> float:
        return float(self.predict(np.array([tokens], dtype=np.float64), sequences)[0])

    def observe(self, tokens: int, seconds: float, sequences: int = 1) -> None:
        """Moves the estimate towards what a step took: all of it, since a longer context or a slower machine is felt at
        every width; and half as much again what it is made of at this one: the knots around `tokens`, each by its
        share, and the sequences' part.
        """
        ratio = seconds / self.of(tokens, sequences)
        # The first steps count for more: the machine may have been busy when it was measured.
        self._observed += 1
        rate = max(LEARNING_RATE, 1.0 / (1 + self._observed))
        # In logarithms noise adds up to nothing. Were seconds added, and the whole multiplied, widths that are not seen
        # would drift away from the one that is: by a factor of e in 160,000 steps with a tenth of noise.
        moved = rate * math.log(min(max(ratio, 1 / (1 + MOST_SURPRISE)), 1 + MOST_SURPRISE))
        right = int(np.clip(np.searchsorted(KNOTS_TOKENS, tokens), 1, len(KNOTS_TOKENS) - 1))
        share = float(np.interp(tokens, KNOTS_TOKENS[right - 1 : right + 1], [0.0, 1.0]))
        left, right = self._decisive(right - 1), self._decisive(right)
        self._seconds *= math.exp(moved)
        self._seconds[left] *= math.exp(moved / 2 * (1 - share))
        self._seconds[right] *= math.exp(moved / 2 * share)
        self._sequence_s *= math.exp(moved * (1.5 if sequences > 1 else 1.0))

    def _decisive(self, knot: int) -> int:
        """The knot that decides the estimate at `knot`: of it and those below, the nearest of the slowest."""
        return knot - int(np.argmax(self._seconds[knot::-1]))
