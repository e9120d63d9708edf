"""Serving in virtual time: the real engines on tiny models, whose forwards take what another machine's would.

What speculation earns or costs there is exact, and the same in each run.
"""

from __future__ import annotations

import random
from collections.abc import Sequence as Many
from dataclasses import dataclass

import torch
from outrider_serving.draft.engine import DraftEngine
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.request import SamplingParams
from outrider_serving.engine.rows import Rows
from outrider_serving.engine.step_time import StepTime
from outrider_serving.target.drafters import Drafter, NoDraft
from outrider_serving.target.scheduler import Scheduler
from outrider_serving.target.speculation import Speculation, SpeculationPolicy
from outrider_serving.target.step import TargetStep
from transformers import LlamaForCausalLM

from support.inprocess import HandCarried, sequence_of, shape_of
from support.pair import VOCABULARY, first_layers, random_llama

MOST_DRAFTED = 64
CONTEXT_TOKENS = 1024


@dataclass(frozen=True)
class Cost:
    """Seconds of a forward: measured: (tokens, seconds) of one sequence; sequence_s: of each further one."""

    measured: tuple[tuple[int, float], ...]
    sequence_s: float = 0.0

    def step_time(self) -> StepTime:
        return StepTime(self.measured, self.sequence_s)


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
    """Its forwards take virtual time."""

    def __init__(self, model: LlamaForCausalLM, cost: Cost, clock: Clock) -> None:
        super().__init__(model)
        self._cost = cost.step_time()
        self._clock = clock

    def forward(self, batch: Many[Rows]) -> list[torch.Tensor]:
        self._clock.now_s += self._cost.of(sum(map(len, batch)), len(batch))
        return super().forward(batch)


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


@dataclass
class Served:
    """What came of it. tokens: of each request, in the order in which they were sent. asked_steps: that asked the
    draft.
    """

    elapsed_s: float
    tokens: list[list[int]]
    asked_steps: int


def serve(machine: Machine, traffic: Traffic, policy: SpeculationPolicy) -> Served:
    """All requests, to their ends."""
    clock = Clock()
    model = random_llama(4, traffic.distance, vocabulary=traffic.vocabulary)
    drafter = NoDraft() if machine.draft is None else _drafter(model, machine.draft, policy, clock)
    speculation = Speculation(drafter, policy, machine.target.step_time(), clock=clock)
    runner = Costly(model, machine.target, clock)
    step = TargetStep(runner, Scheduler(traffic.streams), speculation, clock)
    luck = random.Random(1)
    sequences = [
        sequence_of(
            step,
            [luck.randrange(traffic.vocabulary) for _ in range(traffic.prompt_tokens)],
            SamplingParams(max_tokens=traffic.answer_tokens, temperature=traffic.temperature, seed=seed),
        )
        for seed in range(traffic.requests)
    ]
    for sequence in sequences:
        step.scheduler.add(sequence)
    asked_steps = 0
    while (report := step.step()) is not None:
        asked_steps += report.asked > 0
    return Served(clock.now_s, [sequence.tokens[sequence.prompt_length :] for sequence in sequences], asked_steps)


def gain(machine: Machine, traffic: Traffic) -> float:
    """How many times as fast as plain decoding, for the same tokens."""
    plain, served = (serve(machine, traffic, SpeculationPolicy(mode=mode)) for mode in ("Off", "Auto"))
    assert served.tokens == plain.tokens
    return plain.elapsed_s / served.elapsed_s


def _drafter(model: LlamaForCausalLM, cost: Cost, policy: SpeculationPolicy, clock: Clock) -> Drafter:
    draft = Costly(first_layers(model, 1), cost, clock)
    engine = DraftEngine(draft, MOST_DRAFTED, CONTEXT_TOKENS, cost.step_time(), clock)
    return HandCarried(engine, shape_of(policy), draft.vocabulary_size)
