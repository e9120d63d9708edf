"""One target that answers: requests wait for a place, their prompts are read, their answers decoded.

Processor sharing instead of single steps: between two events all sequences that decode get tokens at one pace, so
one clock, in tokens, serves for all of them, and the one whose end it reaches first ends next. A prompt in reading
likewise has a pace. The pace changes only when a sequence comes or goes, or the draft's load does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush

from outrider_operator.autoscaling.replay.counters import TTFT_BOUNDS_S, Counters
from outrider_operator.autoscaling.replay.fleet import TargetSpec
from outrider_operator.autoscaling.replay.physics import Physics, Step
from outrider_operator.autoscaling.replay.trace import Request

# What is left of a prompt or an answer when its event comes is rounding.
NOTHING_TOKENS = 1e-6


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way. first_s, end_s: when its first and its last token came; None where they have not yet."""

    request: Request
    first_s: float | None = None
    end_s: float | None = None

    @property
    def ttft_s(self) -> float | None:
        return None if self.first_s is None else self.first_s - self.request.arrival_s

    @property
    def itl_s(self) -> float | None:
        """Mean time between its tokens; 0 where there is only one."""
        if self.first_s is None or self.end_s is None:
            return None
        return (self.end_s - self.first_s) / max(1, self.request.generated_tokens - 1)

    @property
    def kv_tokens(self) -> int:
        return self.request.prompt_tokens + self.request.generated_tokens


class Replica:
    """Tell it the time with `advance` before anything else is asked of it, and `pace` it after every change."""

    def __init__(self, spec: TargetSpec, physics: Physics, now_s: float) -> None:
        self._spec = spec
        self._physics = physics
        self._now_s = now_s
        self._waiting: deque[Job] = deque()
        self._reading: deque[Job] = deque()
        # By the clock at which each ends; the number tells two apart that end together.
        self._decoding: list[tuple[float, int, Job]] = []
        self._started = 0
        self._clock_tokens = 0.0
        self._prompt_left_tokens = 0.0
        self._kv_tokens = 0
        self._step: Step | None = None
        # When the pace brings something to its end, and whether that is a prompt.
        self._due_s = float("inf")
        self._due_prompt = False
        self._steps: dict[Step, float] = {}
        self._counters = Counters()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._reading) + len(self._decoding)

    @property
    def reading(self) -> bool:
        return bool(self._reading)

    @property
    def decoding(self) -> int:
        return len(self._decoding)

    @property
    def load(self) -> int:
        return len(self._waiting) + len(self._reading) + len(self._decoding)

    @property
    def prompt_tokens_per_s(self) -> float:
        """Read at the pace there is."""
        return 0.0 if self._step is None else self._step.prompt_tokens / self._step.seconds

    @property
    def kv_usage(self) -> float:
        """Places are kept for whole answers, so that none has to be given up."""
        return self._kv_tokens / self._spec.kv_tokens

    def counters(self) -> Counters:
        """A reading of them."""
        for step, count in self._steps.items():
            self._count(step, count)
        self._steps.clear()
        return self._counters.copy()

    def advance(self, now_s: float) -> None:
        """Lets everything run until now at the pace there is. Call it at the time `pace` gave, or before."""
        elapsed_s, self._now_s = now_s - self._now_s, now_s
        step = self._step
        if step is None:
            return
        count = elapsed_s / step.seconds
        self._steps[step] = self._steps.get(step, 0.0) + count
        self._clock_tokens += count * step.tokens
        self._prompt_left_tokens -= count * step.prompt_tokens
        if now_s >= self._due_s:
            # Exactly, however short the time was: rounding must not leave something to do that takes no time.
            if self._due_prompt:
                self._prompt_left_tokens = 0.0
            else:
                self._clock_tokens = self._decoding[0][0]

    def take(self, job: Job) -> None:
        """A request comes."""
        self._counters.arrived += 1
        self._waiting.append(job)
        self._admit()

    def settle(self) -> list[Job]:
        """Prompts that are read and answers that are whole by now: gives those that ended."""
        ended: list[Job] = []
        while self._reading and self._prompt_left_tokens <= NOTHING_TOKENS:
            self._first_token(self._reading.popleft(), ended)
            self._begin_prompt()
        while self._decoding and self._decoding[0][0] <= self._clock_tokens + NOTHING_TOKENS:
            self._end(heappop(self._decoding)[2], ended)
        self._admit()
        return ended

    def pace(self, carried: int, prompt_share: float) -> float:
        """Sets the pace from now on, and says when something will have to be settled: never, where nothing runs.
        carried: sequences on each draft, 0 without one. prompt_share: of the drafts' time, that they read prompts.
        """
        self._due_s = float("inf")
        if not self._reading and not self._decoding:
            self._step = None
            return self._due_s
        step = self._step = self._physics.step(len(self._decoding), bool(self._reading), carried, prompt_share)
        prompt = self._prompt_left_tokens / step.prompt_tokens if self._reading else self._due_s
        answer = (self._decoding[0][0] - self._clock_tokens) / step.tokens if self._decoding else self._due_s
        self._due_prompt = prompt <= answer
        self._due_s = self._now_s + max(0.0, min(prompt, answer)) * step.seconds
        return self._due_s

    def _admit(self) -> None:
        """First come, first served; a request larger than the pool runs alone."""
        while self._waiting and self.running < self._spec.max_sequences:
            job = self._waiting[0]
            if self.running and self._kv_tokens + job.kv_tokens > self._spec.kv_tokens:
                return
            self._waiting.popleft()
            self._kv_tokens += job.kv_tokens
            self._reading.append(job)
            if len(self._reading) == 1:
                self._begin_prompt()

    def _begin_prompt(self) -> None:
        if self._reading:
            self._prompt_left_tokens = float(self._reading[0].request.prompt_tokens)

    def _first_token(self, job: Job, ended: list[Job]) -> None:
        job.first_s = self._now_s
        self._counters.generated_tokens += 1
        self._counters.ttft[bisect_left(TTFT_BOUNDS_S, self._now_s - job.request.arrival_s)] += 1
        left = job.request.generated_tokens - 1
        if left:
            self._started += 1
            heappush(self._decoding, (self._clock_tokens + left, self._started, job))
        else:
            self._end(job, ended)

    def _end(self, job: Job, ended: list[Job]) -> None:
        job.end_s = self._now_s
        self._kv_tokens -= job.kv_tokens
        ended.append(job)

    def _count(self, step: Step, count: float) -> None:
        counters = self._counters
        sequence_steps = count * step.decoding
        tokens = sequence_steps * step.tokens
        counters.prompt_tokens += count * step.prompt_tokens
        counters.generated_tokens += tokens
        counters.decoded_tokens += tokens
        counters.sequence_steps += sequence_steps
        counters.step_s += count * step.seconds
        counters.wait_s += count * step.wait_s
        counters.plain_s += count * step.plain_s
        counters.draft_s += count * step.draft_s
        counters.gap_s += sequence_steps * step.seconds
        if step.tree_share:
            key = (step.acceptance, step.depth)
            counters.trees[key] = counters.trees.get(key, 0.0) + sequence_steps * step.tree_share
        for bucket, share in step.gaps:
            counters.itl[bucket] += tokens * share
