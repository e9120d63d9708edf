"""Draft and target in one process without gRPC: the real engines, the real messages, a drafter that carries
them by hand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from typing import Any

from outrider_serving.draft.engine import DraftEngine
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.request import Delta, Request, SamplingParams
from outrider_serving.engine.step_time import StepTime
from outrider_serving.engine.tree import Tree
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb
from outrider_serving.target.drafters import Ask, Drafter, DraftState, DraftStatus, NoDraft
from outrider_serving.target.ngram import NGramIndex
from outrider_serving.target.remote import RemoteDrafter
from outrider_serving.target.scheduler import Scheduler
from outrider_serving.target.sequence import Sequence
from outrider_serving.target.speculation import Speculation, SpeculationPolicy
from outrider_serving.target.step import TargetStep

STEP_TIME = ((1, 1.0), (64, 1.1))
CONTEXT_TOKENS = 1024
LEVEL_TIME = ((1, 0.01),)


class SilentDetokenizer:
    """Tokens of a random model have no text."""

    stopped = False

    def feed(self, token: int) -> str:
        return ""

    def flush(self) -> str:
        return ""


class HandCarried(RemoteDrafter):
    """A RemoteDrafter whose stream is a function call into a DraftEngine."""

    def __init__(self, engine: DraftEngine, shape: pb.TreeShape, vocabulary_size: int) -> None:
        super().__init__("in-process", "", vocabulary_size, shape)
        self.engine = engine
        self._status = DraftStatus(DraftState.CONNECTED)
        self._generation = 1

    def _send(self, message: pb.TargetMessage) -> None:
        # Over the wire and back, so that only what the messages hold arrives.
        self.engine.handle(0, pb.TargetMessage.FromString(message.SerializeToString()))

    def collect(self, asks: Many[Ask], patience_s: float, longest_s: float) -> Mapping[int, Tree]:
        while (report := self.engine.step()) is not None:
            for message in report.messages.values():
                self._receive(pb.DraftMessage.FromString(message.SerializeToString()))
            if not any(self.awaits(ask.sequence) for ask in asks):
                break
        return super().collect(asks, 0.0, 0.0)

    def reconnect(self) -> None:
        """The draft was killed and came back: it knows nothing."""
        self.engine.drop_stream(0)
        self._generation += 1


def draft_engine(runner: ModelRunner, max_num_seqs: int = 16) -> DraftEngine:
    return DraftEngine(
        runner, max_num_seqs=max_num_seqs, max_model_len_tokens=CONTEXT_TOKENS, level_time=StepTime(LEVEL_TIME)
    )


def shape_of(policy: SpeculationPolicy) -> pb.TreeShape:
    return pb.TreeShape(
        max_depth=policy.max_depth,
        max_branches=policy.max_branches,
        max_nodes=policy.max_nodes,
        min_probability=policy.min_probability,
        run_ahead=policy.run_ahead,
    )


def target_step(
    runner: ModelRunner, policy: SpeculationPolicy, drafter: Drafter | None = None, **options: Any
) -> TargetStep:
    """options: of the scheduler; allowed: whether it may speculate just now."""
    allowed = options.pop("allowed", lambda: True)
    speculation = Speculation(drafter or NoDraft(), policy, StepTime(STEP_TIME), allowed)
    return TargetStep(runner, Scheduler(**{"max_num_seqs": 16, **options}), speculation)


_ids = itertools.count(1)


def sequence_of(
    step: TargetStep,
    prompt: Many[int],
    sampling: SamplingParams,
    emit: Callable[[Delta], None] = lambda _: None,
    context_tokens: int = CONTEXT_TOKENS,
) -> Sequence:
    request = Request("test", "test", tuple(prompt), sampling)
    return Sequence(
        id=next(_ids),
        request=request,
        detokenizer=SilentDetokenizer(),  # type: ignore[arg-type]
        kv=step._runner.new_kv(),
        eos_tokens=frozenset(),
        vocabulary_size=step._runner.vocabulary_size,
        max_model_len_tokens=context_tokens,
        emit=emit,
        abort=lambda _: None,
        calibration=step.speculation.calibration(request),
        ngrams=NGramIndex(),
    )


def generate(
    step: TargetStep,
    prompts: Many[Many[int]],
    sampling: SamplingParams | Many[SamplingParams],
    after_step: Callable[[int], None] = lambda _: None,
) -> list[list[int]]:
    """Runs all prompts at once to their ends and gives the output tokens of each."""
    each = [sampling] * len(prompts) if isinstance(sampling, SamplingParams) else list(sampling)
    sequences = [sequence_of(step, prompt, params) for prompt, params in zip(prompts, each, strict=True)]
    for sequence in sequences:
        step.scheduler.add(sequence)
    for count in itertools.count():
        if step.step() is None:
            break
        after_step(count)
    return [sequence.tokens[sequence.prompt_length :] for sequence in sequences]
