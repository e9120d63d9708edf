"""Prompt lookup: what followed the last time the sequence read like this. Costs no forward pass."""

from __future__ import annotations

from outrider_serving.engine.tree import Source, Tree, chain

MIN_MATCH = 2
MAX_MATCH = 16


class NGramIndex:
    """Where each pair of tokens was last seen in one sequence, kept up to date as it grows."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, int], int] = {}

    def extend(self, tokens: list[int]) -> None:
        """Takes in what `tokens`, the whole sequence, has beyond what was seen. The last pair is not entered
        before something follows it.
        """
        known = len(self._tokens)
        self._tokens.extend(tokens[known:])
        for end in range(max(known, MIN_MATCH), len(self._tokens)):
            self._after[(self._tokens[end - 2], self._tokens[end - 1])] = end

    def propose(self, depth: int) -> Tree:
        """The continuation of the latest occurrence of the sequence's end, as a chain of at most `depth` tokens."""
        tokens = self._tokens
        if len(tokens) < MIN_MATCH or depth < 1:
            return Tree()
        start = self._after.get((tokens[-2], tokens[-1]))
        if start is None:
            return Tree()
        match = self._match_length(start)
        found = tokens[start : start + depth]
        return chain(found, [_belief(match + offset) for offset in range(len(found))], Source.NGRAM)

    def _match_length(self, start: int) -> int:
        """How many tokens before `start` are the same as the sequence's last ones."""
        tokens = self._tokens
        length = MIN_MATCH
        while length < min(MAX_MATCH, start) and tokens[start - 1 - length] == tokens[-1 - length]:
            length += 1
        return length


def _belief(match: int) -> float:
    """A longer match is likelier to go on. The shape only sorts matches into bins; the calibration says what a
    bin is worth.
    """
    return match / (match + 6.0)
