"""The comparison itself: every prompt through every system before the next prompt, and what that took."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.errors import BenchError
from benchmarks.estimate import Estimate, Work
from benchmarks.fleet import Fleet
from benchmarks.prompts import Prompt
from benchmarks.runs import Run
from benchmarks.systems import Case, rotated
from benchmarks.watch import read, shares, until_idle

WARM_UP_TOKENS = 16


class Step(NamedTuple):
    """One run to be made."""

    part: int
    round: int
    case: Case
    prompt: Prompt


def schedule(part: int, cases: Sequence[Case], prompts: Sequence[Prompt], rounds: int) -> list[Step]:
    """Prompt by prompt, the order of the systems rotated from one to the next."""
    turns = [(turn, index, prompt) for turn in range(rounds) for index, prompt in enumerate(prompts)]
    return [Step(part, turn, case, prompt) for turn, index, prompt in turns for case in rotated(cases, index + turn)]


async def warm_up(fleet: Fleet, cases: Sequence[Case], prompt: Prompt, estimate: Estimate) -> None:
    """Runs every case once, uncounted; the first forwards of a process cost several times the later ones."""
    tokens = min(WARM_UP_TOKENS, estimate.tokens)
    for case in cases:
        answer = await fleet.backends[case.system].run(prompt, tokens, case.temperature)
        estimate.warmed_up(case, len(prompt.tokens), answer)


def work_of(steps: Sequence[Step]) -> list[Work]:
    return [(step.case, len(step.prompt.tokens)) for step in steps]


async def compare(
    fleet: Fleet,
    steps: Sequence[Step],
    later: Sequence[Step],
    estimate: Estimate,
    done: Callable[[Run, float], None],
) -> None:
    """Calls `done` after each run, with the seconds that are left, `later` included. Raises BenchError."""
    work = work_of([*steps, *later])
    for index, step in enumerate(steps):
        started_s = time.monotonic()
        run = await measure(fleet, step, estimate.tokens)
        estimate.took(work[index], time.monotonic() - started_s)
        done(run, estimate.left_s(work[index + 1 :]))


async def measure(fleet: Fleet, step: Step, tokens: int) -> Run:
    """One run, and who used the processor meanwhile. Raises BenchError when the answer has another length."""
    case, prompt = step.case, step.prompt
    backend = fleet.backends[case.system]
    idle = await until_idle(fleet.pids())
    for waiting in fleet.backends.values():
        if (problem := waiting.problem()) is not None:
            raise BenchError(problem)
    if not idle:
        raise BenchError("a system that waits does not sleep; look for it with `top` and start again")
    watched = [*fleet.pids(), os.getpid()]
    before = read(watched)
    answer = await backend.run(prompt, tokens, case.temperature)
    others, foreign = shares(before, read(watched), {*backend.pids(), os.getpid()})
    if answer.tokens != tokens:
        raise BenchError(f"{case.label} gave {answer.tokens} tokens instead of {tokens}: no fair comparison")
    return Run.of(case, step.part, step.round, prompt, answer, others, foreign)
