"""Serving in virtual time: the real engines, whose forwards take what another machine's would.

What speculation earns or costs there is exact, and the same in each run.
"""

from __future__ import annotations

import random
from collections.abc import Sequence as Many
from dataclasses import dataclass

import torch
from outrider_serving.draft.engine import DraftEngine
from outrider_serving.engine.kv_pool import KVPool
from outrider_serving.engine.model_runner import FEW_BLOCKS, ModelRunner
from outrider_serving.engine.request import SamplingParams
from outrider_serving.engine.rows import Rows
from outrider_serving.engine.step_time import StepTime
from outrider_serving.target.drafters import Drafter, NoDraft
from outrider_serving.target.scheduler import Scheduler
from outrider_serving.target.speculation import Speculation, SpeculationPolicy
from outrider_serving.target.step import StepReport, TargetStep
from transformers import PreTrainedModel

from support.inprocess import CONTEXT_TOKENS, HandCarried, sequence_of, shape_of
from support.pair import VOCABULARY, first_layers, random_llama

MOST_DRAFTED = 64


@dataclass(frozen=True)
class Cost:
    """Seconds of a forward: measured: (tokens, seconds) of one sequence; sequence_s: of each further one."""

    measured: tuple[tuple[int, float], ...]
    sequence_s: float = 0.0

    def step_time(self) -> StepTime:
        return StepTime(self.measured, self.sequence_s)

    def times(self, slower: float) -> Cost:
        """Of a machine that is so many times slower."""
        return Cost(tuple((tokens, slower * s) for tokens, s in self.measured), slower * self.sequence_s)


@dataclass(frozen=True)
class Machine:
    """What target's and draft's forwards take. They take turns on it. draft: None where only n-grams are looked up."""

    target: Cost
    draft: Cost | None


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


class Costly(ModelRunner):
    """Its forwards take virtual time. Of targets, several servers may use one in turn, each with a pool of its own."""

    def __init__(self, model: PreTrainedModel, cost: Cost, clock: Clock, drafts: bool = False) -> None:
        super().__init__(model, drafts=drafts)
        self.take(cost)
        self._clock = clock

    def take(self, cost: Cost) -> None:
        """So much from now on."""
        self.cost = cost
        self._curve = cost.step_time()

    def forward(self, batch: Many[Rows]) -> list[torch.Tensor]:
        self._clock.now_s += self._curve.of(sum(map(len, batch)), len(batch))
        return super().forward(batch)

    def use(self, pool: KVPool) -> None:
        """Sequences from now on keep theirs in it."""
        self._pool = pool


@dataclass(frozen=True)
class Asked:
    """One request."""

    prompt: tuple[int, ...]
    sampling: SamplingParams


@dataclass
class Served:
    """What came of some requests. tokens: of each, in the order in which they were sent. steps: what each did."""

    elapsed_s: float
    tokens: list[list[int]]
    steps: list[StepReport]

    @property
    def asked_steps(self) -> int:
        """Those that asked the draft."""
        return sum(step.asked > 0 for step in self.steps)


class Server:
    """A target and, where there is one, the draft with which it takes turns. What it learns of one load it keeps for
    the next.
    """

    def __init__(
        self,
        clock: Clock,
        target: Costly,
        draft: Costly | None,
        policy: SpeculationPolicy,
        context_tokens: int = CONTEXT_TOKENS,
        blocks: int = FEW_BLOCKS,
    ) -> None:
        self._clock = clock
        self._context_tokens = context_tokens
        self._pools = [(runner, runner.make_pool(blocks)) for runner in (target, draft) if runner is not None]
        drafter: Drafter = NoDraft()
        if draft is not None:
            engine = DraftEngine(draft, MOST_DRAFTED, context_tokens, draft.cost.step_time(), clock)
            drafter = HandCarried(engine, shape_of(policy), draft.vocabulary_size)
        speculation = Speculation(drafter, policy, target.cost.step_time(), clock=clock)
        self._step = TargetStep(target, Scheduler(max_num_seqs=1), speculation, clock)

    def serve(self, requests: Many[Asked], streams: int) -> Served:
        """All of them, to their ends; they come all at once, and so many run."""
        for runner, pool in self._pools:
            runner.use(pool)
        scheduler = self._step.scheduler
        scheduler.max_num_seqs = streams
        began_s = self._clock.now_s
        sequences = [
            sequence_of(self._step, asked.prompt, asked.sampling, context_tokens=self._context_tokens)
            for asked in requests
        ]
        for sequence in sequences:
            scheduler.add(sequence)
        steps = []
        while (report := self._step.step()) is not None:
            steps.append(report)
        tokens = [sequence.tokens[sequence.prompt_length :] for sequence in sequences]
        return Served(self._clock.now_s - began_s, tokens, steps)


@dataclass(frozen=True)
class Traffic:
    """Requests that come all at once, of which `streams` run. distance: of draft and target, see support.pair: 1.0 is a
    draft that guesses. vocabulary: the smaller, the oftener n-grams are found.
    """

    streams: int
    requests: int
    prompt_tokens: int
    answer_tokens: int
    distance: float
    temperature: float = 0.0
    vocabulary: int = VOCABULARY

    def asked(self) -> list[Asked]:
        luck = random.Random(1)
        return [
            Asked(
                tuple(luck.randrange(self.vocabulary) for _ in range(self.prompt_tokens)),
                SamplingParams(max_tokens=self.answer_tokens, temperature=self.temperature, seed=seed),
            )
            for seed in range(self.requests)
        ]


def serve(machine: Machine, traffic: Traffic, policy: SpeculationPolicy) -> Served:
    """All requests to a tiny random pair that has just started."""
    clock = Clock()
    model = random_llama(4, traffic.distance, vocabulary=traffic.vocabulary)
    draft = None if machine.draft is None else Costly(first_layers(model, 1), machine.draft, clock)
    return Server(clock, Costly(model, machine.target, clock), draft, policy).serve(traffic.asked(), traffic.streams)


def gain(machine: Machine, traffic: Traffic) -> float:
    """How many times as fast as plain decoding, for the same tokens."""
    plain, served = (serve(machine, traffic, SpeculationPolicy(mode=mode)) for mode in ("Off", "Auto"))
    assert served.tokens == plain.tokens
    return plain.elapsed_s / served.elapsed_s
