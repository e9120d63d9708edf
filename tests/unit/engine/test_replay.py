"""Another rank's KV pool becomes what rank 0's is, from the messages alone."""

from __future__ import annotations

import pytest
import torch
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.parallel_runner import ParallelRunner
from outrider_serving.engine.replay import RecordedPool, Replayer
from outrider_serving.engine.request import SamplingParams
from outrider_serving.target.speculation import SpeculationPolicy
from support.inprocess import HandCarried, draft_engine, generate, shape_of, target_step
from support.pair import first_layers, poison, random_llama

BLOCKS = 96
DISTANCE = 0.3  # trees are accepted in part, often not along their first branch: rows move
POISON = 77  # a token of which a broken model makes no numbers
# The second shares the first's beginning, and the third is read in chunks.
PROMPTS = [[1, 2, 3, 4] * 10, [1, 2, 3, 4] * 10 + [9], list(range(200)) * 4, [7]]


class OtherRank:
    """Stands where the other ranks are: follows the messages with a whole model of its own."""

    complete = True

    def __init__(self) -> None:
        self.runner = ModelRunner(random_llama(4, DISTANCE))
        self.message_bytes: list[int] = []
        self._replayer: Replayer | None = None

    def send(self, message: bytes) -> None:
        if self._replayer is None:
            self.runner.take_memory(int.from_bytes(message, "little"))
            self._replayer = Replayer(self.runner.pool)
        else:
            self.message_bytes.append(len(message))
            if batch := self._replayer.batch(message):
                self.runner.forward(batch)


def test_rows_that_are_no_numbers_are_zeroed_on_the_other_ranks_too() -> None:
    other = OtherRank()
    target = random_llama(4, DISTANCE)
    poison(target, POISON)
    poison(other.runner.model, POISON)
    runner = ParallelRunner(target, None, other)  # type: ignore[arg-type]
    runner.take_memory(BLOCKS)
    step = target_step(runner, SpeculationPolicy(mode="Off"))
    greedy = SamplingParams(max_tokens=20, temperature=0.0, logit_bias=((POISON, -100.0),))
    failed, served = generate(step, [[POISON, 1, 2] * 10, [7]], greedy)
    assert (len(failed), len(served)) == (0, 20)
    assert isinstance(runner.pool, RecordedPool)
    other.send(runner.pool.message([]))
    assert other.runner.pool.all_keys.isfinite().all()
    assert torch.equal(runner.pool.all_keys, other.runner.pool.all_keys)
    assert torch.equal(runner.pool.all_values, other.runner.pool.all_values)


@pytest.mark.long
def test_every_write_and_move_happens_on_the_other_ranks_too() -> None:
    other = OtherRank()
    target = random_llama(4, DISTANCE)
    runner = ParallelRunner(target, None, other)  # type: ignore[arg-type]
    runner.take_memory(BLOCKS)
    policy = SpeculationPolicy(mode="Always", ngrams=False)
    drafter = HandCarried(draft_engine(ModelRunner(first_layers(target, 1))), shape_of(policy), runner.vocabulary_size)
    step = target_step(runner, policy, drafter)
    tokens = generate(step, PROMPTS, SamplingParams(max_tokens=60, temperature=0.8, seed=2))
    assert all(len(each) == 60 for each in tokens)
    assert isinstance(runner.pool, RecordedPool)
    other.send(runner.pool.message([]))  # the last step's moves, which no forward followed
    assert other.runner.pool.blocks == BLOCKS
    assert torch.count_nonzero(runner.pool.all_keys) > 0
    assert torch.equal(runner.pool.all_keys, other.runner.pool.all_keys)
    assert torch.equal(runner.pool.all_values, other.runner.pool.all_values)
    assert max(other.message_bytes) < 10_000  # a chunk of 512 tokens
