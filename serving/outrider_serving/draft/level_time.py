"""What a level of the trees takes, by how many sequences' trees it grows. Pure; times are given."""

from __future__ import annotations

from outrider_serving.engine.step_time import MOST_SURPRISE, StepTime

# The last hundred levels or so.
FADE = 0.99
# The spread of sequences that outweighs what was measured before the first request: a hundred levels of which every
# tenth had one sequence more.
PRIOR_SPREAD = 10.0
# A level expands about as many nodes of a tree as it has branches.
ROWS_OF_A_SEQUENCE = 4


class LevelTime:
    """level_s is what a level of one sequence takes, sequence_s what each further one adds: a line through the last
    levels, by least squares whose weights fade.

    Where all levels were of equally many sequences lately, no slope can be seen: then it is the one that was expected.
    """

    def __init__(self, step_time: StepTime) -> None:
        """step_time: of the draft's forwards, as measured at warm-up."""
        level_s = step_time.of(ROWS_OF_A_SEQUENCE)
        self._expected_slope = max(0.0, step_time.of(2 * ROWS_OF_A_SEQUENCE, 2) - level_s)
        self._weight = 1.0
        self._mean_further = 0.0
        self._mean_s = level_s
        self._spread = 0.0
        self._together = 0.0

    @property
    def sequence_s(self) -> float:
        slope = (self._together + PRIOR_SPREAD * self._expected_slope) / (self._spread + PRIOR_SPREAD)
        return max(0.0, slope)

    @property
    def level_s(self) -> float:
        return max(0.0, self._mean_s - self.sequence_s * self._mean_further)

    def observe(self, sequences: int, seconds: float) -> None:
        """A level of so many sequences took so long. A stall counts for half of a usual level at most."""
        further = float(sequences - 1)
        expected_s = self.level_s + self.sequence_s * further
        most_s = MOST_SURPRISE * self._mean_s
        seconds = expected_s + min(max(seconds - expected_s, -most_s), most_s)
        # West 1979: weighted means and their products, updated one by one.
        self._weight = FADE * self._weight + 1.0
        off = further - self._mean_further
        self._mean_further += off / self._weight
        self._mean_s += (seconds - self._mean_s) / self._weight
        self._spread = FADE * self._spread + off * (further - self._mean_further)
        self._together = FADE * self._together + off * (seconds - self._mean_s)
