"""What a target does under a load: what its best trees earn, how full it is, what latency its clients see. Pure.

A model, not a measurement: where both are known, decide corrects the one by the other (see `correction`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from outrider_operator.autoscaling.observation import DraftTime, StepTime

# Quantile 0.95 of an exponential tail, in means.
P95_OF_EXPONENTIAL = math.log(20)
# And of a number of streams around its mean, in standard deviations: independent arrivals make it Poisson's.
P95_OF_NORMAL = 1.645
# Variance of a prompt's length over its mean squared. Published traces have 0.9 (conversations, code).
PROMPT_CV2 = 1.0
# A correction beyond is a fault or a surge that passes, and not how this engine differs from the model.
LEAST_CORRECTION, MOST_CORRECTION = 0.5, 4.0
# Halvings of an interval: to a sixteenth of a sequence among 64.
HALVINGS = 10


@dataclass(frozen=True)
class Load:
    """What is asked by second: of all targets, or of one."""

    requests: float = 0.0
    prompt_tokens: float = 0.0
    generated_tokens: float = 0.0

    def times(self, factor: float) -> Load:
        """As much of everything."""
        return Load(self.requests * factor, self.prompt_tokens * factor, self.generated_tokens * factor)

    def over(self, targets: float) -> Load:
        """One target's part."""
        return self.times(1 / targets)

    def with_(self, other: Load, each: Callable[[float, float], float]) -> Load:
        """Both, part by part."""
        return Load(
            each(self.requests, other.requests),
            each(self.prompt_tokens, other.prompt_tokens),
            each(self.generated_tokens, other.generated_tokens),
        )


@dataclass(frozen=True)
class Speculated:
    """A step with chains of one depth; 0 is plain decoding. goodput: tokens by second of all sequences together."""

    depth: int
    tokens_per_step: float
    step_s: float
    goodput: float


@dataclass(frozen=True)
class Predicted:
    """One target in the steady state. utilisation: load over the most that it can do; from 1 on there is no steady
    state, and latencies are infinite. batch: sequences that decode at once, on average. itl_s, itl_p95_s: the mean time
    between a request's tokens, on average and of all but the slowest twentieth of the requests.
    """

    utilisation: float
    batch: float
    ttft_p95_s: float
    itl_s: float
    itl_p95_s: float


@dataclass(frozen=True)
class Pace:
    """What a target's steps cost and what its trees earn.

    targets_per_draft: how many share one draft. 0: trees cost no draft's time. None: nothing is drafted. draft: None
    where its time is not known and taken for none. path_acceptance, nodes_per_depth: as in Signals. chunk_tokens: of
    a prompt, read in one step.
    """

    step: StepTime
    max_sequences: int
    draft: DraftTime | None = None
    targets_per_draft: float | None = None
    path_acceptance: tuple[float, ...] = ()
    nodes_per_depth: float = 1.0
    max_depth: int = 8
    chunk_tokens: float = 512.0

    def speculated(self, depth: int, sequences: float, beside_s: float = 0.0) -> Speculated:
        """A step of so many sequences with trees of one depth. Fewer than one: a step of one, now and then. beside_s:
        that the step takes for a prompt.

        Draft and target work at the same time, so the slower of both sets the pace (E / max(1, depth · cost ratio)).
        """
        tokens = tokens_per_step(self.path_acceptance, depth)
        step_s = self._step_s(depth, max(1.0, sequences), beside_s)
        return Speculated(depth, tokens, step_s, sequences * tokens / step_s)

    def best(self, sequences: float, beside_s: float = 0.0) -> Speculated:
        """The depth with the highest goodput, the least of several."""
        together = max(1.0, sequences)
        goodputs = [
            tokens / self._step_s(depth, together, beside_s) for depth, tokens in enumerate(self._tokens_per_step)
        ]
        return self.speculated(goodputs.index(max(goodputs)), sequences, beside_s)

    def gain(self, sequences: float) -> float:
        """The best goodput over that of plain decoding: 1 where no tree pays."""
        together = max(1.0, sequences)
        return self.best(together).goodput / self.speculated(0, together).goodput

    def predict(self, load: Load) -> Predicted:
        """The steady state of one target under its part of the load.

        Prompts take a share of the time, decoding has the rest: the batch is the least whose goodput in that rest
        gives what is generated (Little's law: batch = tokens by second · time between a sequence's tokens).
        """
        reading = load.prompt_tokens * self.step.prefill_token_s
        utilisation = self._utilisation(load, reading)
        overloaded = Predicted(utilisation, float(self.max_sequences), math.inf, math.inf, math.inf)
        if utilisation >= 1:
            return overloaded
        batch = self._batch(load.generated_tokens / (1 - reading))
        chunks = load.prompt_tokens / self.chunk_tokens
        busy = reading + chunks * self.speculated(0, batch).step_s
        if busy >= 1:
            return overloaded
        return Predicted(
            utilisation,
            batch,
            self._ttft_p95_s(load, busy, batch),
            self._token_s(batch) / (1 - reading),
            self._itl_p95_s(load, busy, batch),
        )

    @cached_property
    def _tokens_per_step(self) -> tuple[float, ...]:
        """By depth, from 0 to the deepest. Kept: one decision asks a thousand times."""
        return tuple(tokens_per_step(self.path_acceptance, depth) for depth in range(self._deepest + 1))

    def _step_s(self, depth: int, sequences: float, beside_s: float = 0.0) -> float:
        step_s = self.step.of(sequences * (1 + depth * self.nodes_per_depth), sequences) + beside_s
        if depth and self.draft and self.targets_per_draft:
            return max(step_s, depth * self.draft.of(sequences * self.targets_per_draft))
        return step_s

    @property
    def _deepest(self) -> int:
        return self.max_depth if self.path_acceptance and self.targets_per_draft is not None else 0

    def _utilisation(self, load: Load, reading: float) -> float:
        """The least share of the time in which the load can be done. A chunk of a prompt is read in a step of those who
        decode, so there are at least as many steps as chunks; and as many as give all tokens, with the batch that is
        best: where prompts need more steps, a small one.
        """
        chunks = load.prompt_tokens / self.chunk_tokens
        shares = []
        for depth, emitted in enumerate(self._tokens_per_step):
            wanted = load.generated_tokens / (emitted * chunks) if chunks > 0 else math.inf
            batch = min(max(wanted, 1.0), float(self.max_sequences))
            steps = max(chunks, load.generated_tokens / (batch * emitted))
            shares.append(steps * self._step_s(depth, batch))
        return reading + min(shares)

    def _batch(self, goodput: float) -> float:
        """The least number of sequences that together make so many tokens by second, or as many as can run."""
        alone = self.best(1).goodput
        if goodput <= alone:
            return goodput / alone
        low, high = 1.0, float(self.max_sequences)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if self.best(middle).goodput >= goodput else (middle, high)
        return high

    def _token_s(self, sequences: float, beside_s: float = 0.0) -> float:
        """Time between the tokens of one sequence: while no prompt is read, or in steps that take so long for one."""
        step = self.best(max(1.0, sequences), beside_s)
        return step.step_s / step.tokens_per_step

    def _ttft_p95_s(self, load: Load, busy: float, batch: float) -> float:
        """The step that runs when a request arrives (a plain one: prompts are not put off for trees), the wait for a
        place among the sequences, then the prompts ahead and the own prompt; the waits' tail taken for exponential.

        Wait for prompts: one server, Pollaczek and Khinchine, W = rho / (1 - rho) · S · (1 + cv²) / 2.
        Wait for a place: as many servers c as places, W = S / c · rho^(sqrt(2 (c + 1)) - 1) / (1 - rho) (Sakasegawa
        1977).
        """
        step_s = self.speculated(0, batch).step_s
        if load.requests <= 0:
            return step_s
        prompt_s = busy / load.requests
        for_prompts_s = busy / (1 - busy) * prompt_s * (1 + PROMPT_CV2) / 2
        places, held = self.max_sequences, batch / self.max_sequences
        hold_s = batch / load.requests
        queued = math.pow(held, math.sqrt(2 * (places + 1)) - 1)
        for_place_s = hold_s / places * queued / max(1 - held, 1e-9)
        return step_s + P95_OF_EXPONENTIAL * (prompt_s + for_prompts_s + for_place_s)

    def _itl_p95_s(self, load: Load, busy: float, batch: float) -> float:
        """Of a request that meets more sequences than the mean, and more of the others' prompts.

        Prompts come and go like a switch that is on for a share `busy` of the time. Over an answer of D seconds the
        share varies by busy (1 - busy) · 2 S / D, where S is what a prompt takes: the mean of a process with memory S.
        """
        crowded = min(batch + P95_OF_NORMAL * math.sqrt(batch), float(self.max_sequences))
        between_s = self._token_s(crowded)
        answer_s = load.generated_tokens / load.requests * self._token_s(1) if load.requests > 0 else 0.0
        if answer_s <= 0:
            return between_s
        memory = min(1.0, 2 * busy / load.requests / answer_s)
        beside = min(1.0, busy + P95_OF_NORMAL * math.sqrt(busy * (1 - busy) * memory))
        in_chunks_s = self._token_s(crowded, self.chunk_tokens * self.step.prefill_token_s)
        return 1.0 / (beside / in_chunks_s + (1 - beside) / between_s)


@lru_cache(maxsize=1024)
def tokens_per_step(path_acceptance: tuple[float, ...], depth: int) -> float:
    """Tokens of a step with a chain of this depth, the target's own included: 1 + the sum of the paths' acceptance.

    Beyond what was measured each level keeps the share that the last one measured kept.
    """
    measured = path_acceptance[:depth]
    if not measured:
        return 1.0
    kept = measured[-1] / measured[-2] if len(measured) > 1 and measured[-2] > 0 else measured[0]
    kept = min(kept, 1.0)
    beyond = sum(measured[-1] * kept**level for level in range(1, depth - len(measured) + 1))
    return 1 + sum(measured) + beyond


def correction(measured: float | None, predicted: float) -> float:
    """What a prediction is to be multiplied by, as seen where both are known; 1 where they are not."""
    if measured is None or measured <= 0 or not 0 < predicted < math.inf:
        return 1.0
    return min(max(measured / predicted, LEAST_CORRECTION), MOST_CORRECTION)
