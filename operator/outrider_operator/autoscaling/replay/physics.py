"""What a step of a simulated target takes and brings. Pure.

The formulas are those of decoding, and on purpose not the autoscaler's own estimate: that one knows only what pods
measure, and may be wrong.

- n sequences, each with a chain of d drafted tokens, are one forward over n(d + 1) tokens. It emits for each sequence
  E(d) = 1 + a + … + a^d tokens on average, where a is the acceptance of one drafted token (2211.17192).
- A chunk of a prompt is read in the same step and lengthens it. Where nothing is decoded, prompts are read at full
  speed.
- The draft runs ahead on GPUs of its own: d levels take d times its level, which depends on how many sequences it
  carries, in the time that it does not read prompts. A step lasts as long as the slower of both; what the target is
  faster is its wait for the draft.
- The target takes the depth of the best goodput E(d)/seconds, as its own fast loop does; like there, none unless it
  would pay even if drafted tokens cost twice what they do. It knows the acceptance, which it in fact measures.
- While none pays it asks for a short tree now and then, so that acceptance goes on being measured.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from outrider_operator.autoscaling.replay.counters import ITL_BOUNDS_S
from outrider_operator.autoscaling.replay.fleet import FleetSpec

# As the target's own rule has it: what a tree brings is a belief, what it costs is sure.
COST_MARGIN = 2.0
# The target's longest rest between two looks whether drafting pays is 256 steps, the look a few steps.
STEPS_A_PROBE = 64.0
# The drafts' time for prompts is told apart in so many parts. However many there are, the last is left for trees.
PARTS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step of one target.

    seconds: all of it. wait_s: of those, spent waiting for the draft. plain_s: what the same tokens would have taken
    without speculation. decoding: sequences. tokens: that each of them gets. prompt_tokens: read. depth: of the
    trees that were verified, in tree_share of all such steps, with that acceptance. draft_s: of the drafts' time. gaps:
    between tokens, as (bucket of the pods' histogram, share of the tokens).
    """

    seconds: float
    wait_s: float
    plain_s: float
    decoding: int
    tokens: float
    prompt_tokens: float
    acceptance: float
    depth: int
    tree_share: float
    draft_s: float
    gaps: tuple[tuple[int, float], ...]


class Physics:
    """The steps of a fleet's targets. They are kept: a trace asks for the same ones again and again."""

    def __init__(self, fleet: FleetSpec) -> None:
        self._fleet = fleet
        self._acceptance = fleet.acceptance.before
        self._steps: dict[tuple[int, bool, int, int], Step] = {}

    def drift(self, acceptance: float) -> None:
        """From now on another share of drafted tokens is accepted."""
        self._acceptance = acceptance
        self._steps = {}

    def step(self, decoding: int, reading: bool, carried: int, prompt_share: float = 0.0) -> Step:
        """The step of a target that decodes so many sequences, at least one or a prompt. reading: a prompt besides.
        carried: sequences on each draft; 0 where there is no draft, or the target was told not to speculate.
        prompt_share: of the drafts' time, that they read prompts.
        """
        key = (decoding, reading, carried, min(int(prompt_share * PARTS), PARTS - 1))
        step = self._steps.get(key)
        if step is None:
            step = self._steps[key] = self._made(*key)
        return step

    def _made(self, decoding: int, reading: bool, carried: int, prompt_parts: int) -> Step:
        fleet = self._fleet
        chunk_tokens = fleet.target.chunk_tokens if reading else 0
        chunk_s = fleet.target.chunk_s if reading else 0.0
        draft_reads_s = chunk_tokens / fleet.draft.prefill_tokens_per_s if carried else 0.0
        if not decoding:
            return Step(chunk_s, 0.0, chunk_s, 0, 0.0, chunk_tokens, self._acceptance, 0, 0.0, draft_reads_s, ())
        level_s = fleet.draft.of(carried) / (1 - prompt_parts / PARTS)
        depth = self._best_depth(decoding, chunk_s, level_s) if carried else 0
        forward_s = self._forward_s(decoding, chunk_s, depth)
        seconds = max(forward_s, depth * level_s)
        tokens = expected_tokens(self._acceptance, depth)
        resting = carried > 0 and depth == 0
        return Step(
            seconds=seconds,
            wait_s=seconds - forward_s,
            plain_s=tokens * fleet.target.forward_s(decoding) + chunk_s,
            decoding=decoding,
            tokens=tokens,
            prompt_tokens=chunk_tokens,
            acceptance=self._acceptance,
            depth=1 if resting else depth,
            tree_share=1.0 / STEPS_A_PROBE if resting else float(depth > 0),
            draft_s=draft_reads_s + (depth * fleet.draft.of(carried) * decoding / carried if carried else 0.0),
            gaps=_gaps(self._acceptance, depth, seconds),
        )

    def _best_depth(self, decoding: int, chunk_s: float, level_s: float) -> int:
        def seconds(depth: int) -> float:
            return max(self._forward_s(decoding, chunk_s, depth), depth * level_s)

        def tokens(depth: int) -> float:
            return expected_tokens(self._acceptance, depth)

        best = max(range(self._fleet.max_depth + 1), key=lambda depth: tokens(depth) / seconds(depth))
        plain_s, margin = seconds(0), COST_MARGIN - 1.0 if decoding > 1 else 0.0
        dear_s = seconds(best) + margin * (seconds(best) - plain_s)
        return best if tokens(best) / dear_s >= 1.0 / plain_s else 0

    def _forward_s(self, decoding: int, chunk_s: float, depth: int) -> float:
        return self._fleet.target.forward_s(decoding * (depth + 1)) + chunk_s


def expected_tokens(acceptance: float, depth: int) -> float:
    """Of one sequence's step that verifies a chain of so many drafted tokens: those accepted, and the target's own."""
    return sum(acceptance**level for level in range(depth + 1))


def _gaps(acceptance: float, depth: int, seconds: float) -> tuple[tuple[int, float], ...]:
    """Times between tokens as the pods count them: the k tokens of a step are seconds / k apart."""
    expected = expected_tokens(acceptance, depth)
    shares: dict[int, float] = {}
    for tokens in range(1, depth + 2):
        ended = 1.0 if tokens == depth + 1 else 1.0 - acceptance
        bucket = bisect_left(ITL_BOUNDS_S, seconds / tokens)
        shares[bucket] = shares.get(bucket, 0.0) + tokens * acceptance ** (tokens - 1) * ended / expected
    return tuple(shares.items())
