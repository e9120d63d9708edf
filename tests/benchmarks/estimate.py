"""How long a run is going to take: from the warm-up first, then from what the run itself took. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.runs import Answer
from benchmarks.systems import Case

Work = tuple[Case, int]  # a case and the length of the prompt in tokens

SETTLE_S = 0.4  # between two runs


@dataclass
class Estimate:
    """Seconds of runs that are still to come."""

    tokens: int  # of every answer
    _prompt_s: dict[Case, float] = field(default_factory=dict)  # a token of the prompt
    _token_s: dict[Case, float] = field(default_factory=dict)
    _predicted_s: float = 0.0
    _taken_s: float = 0.0

    def warmed_up(self, case: Case, prompt_tokens: int, answer: Answer) -> None:
        """Learns from a case's warm-up."""
        self._prompt_s[case] = answer.first_s / prompt_tokens
        rest = max(1, answer.tokens - answer.first_tokens)
        self._token_s[case] = (answer.total_s - answer.first_s) / rest

    def assume(self, case: Case, like: Case, times: float) -> None:
        """Until its own warm-up a case takes so many times what another one does."""
        self._prompt_s[case] = times * self._prompt_s[like]
        self._token_s[case] = times * self._token_s[like]

    def took(self, work: Work, seconds: float) -> None:
        """Learns from a run of the benchmark itself."""
        self._predicted_s += self._predict(work)
        self._taken_s += seconds

    def left_s(self, work: Sequence[Work]) -> float:
        """Seconds that the given runs will take, at the pace of those that were made."""
        pace = self._taken_s / self._predicted_s if self._predicted_s else 1.0
        return pace * sum(map(self._predict, work))

    def _predict(self, work: Work) -> float:
        case, prompt_tokens = work
        return SETTLE_S + self._prompt_s[case] * prompt_tokens + self._token_s[case] * self.tokens
