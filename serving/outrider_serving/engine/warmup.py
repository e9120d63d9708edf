"""What a forward of this model costs on this machine, measured before its server is ready.

The first forwards of a process cost several times the later ones; no request should pay for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from outrider_serving.engine.kv_pool import blocks_for
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.rows import Rows
from outrider_serving.engine.step_time import StepTime

# 6: up to there a vector unit takes no longer than for one. 17: where a matrix unit of 16 rows begins its second tile.
# From 64 on for prompts: what they cost is not to be told from what trees do, and the first long one would hold the
# streams beside it up.
WIDTHS_TOKENS = (1, 2, 4, 6, 8, 16, 17, 32, 64, 256)
SEQUENCES = 4
CONTEXT_TOKENS = 64
ROUNDS = 4
# After the first round, which is cold. Where the widest alone take longer, the others are still measured again: cold, 4
# rows of a target of 1.5B took 0.30 s where 8 took 0.15, so that 4 to 16 rows seemed to cost the same.
ENOUGH_S = 3.0


@dataclass(frozen=True)
class ForwardTimes:
    """by_rows: rows of one sequence → seconds. sequence_s: what each further sequence adds."""

    by_rows: dict[int, float]
    sequence_s: float

    def step_time(self) -> StepTime:
        """One that learns on from here, by itself: who decides by it and who tells of it need the same."""
        return StepTime(list(self.by_rows.items()), self.sequence_s)


def measure_forwards(runner: ModelRunner, clock: Callable[[], float] = time.perf_counter) -> ForwardTimes:
    """Over a short context; of a few rounds the fastest, because noise only ever adds."""
    # A pool so small that little fits in is asked for nothing it has not.
    available = runner.pool.available
    widths = [width for width in WIDTHS_TOKENS if blocks_for(CONTEXT_TOKENS + width) <= available]
    spare = available - blocks_for(CONTEXT_TOKENS + widths[-1])
    sequences = min(SEQUENCES, 1 + spare // blocks_for(CONTEXT_TOKENS + 1))
    kvs = [runner.new_kv() for _ in range(sequences)]

    def forward_s(width: int, sequences: int) -> float:
        started = clock()
        runner.forward([Rows(kv, [1] * width, range(kv.length, kv.length + width)) for kv in kvs[:sequences]])
        for kv in kvs[:sequences]:
            kv.compact(CONTEXT_TOKENS, [])
        return clock() - started

    runner.forward([Rows(kv, tokens=[1] * CONTEXT_TOKENS, positions=range(CONTEXT_TOKENS)) for kv in kvs])
    shapes = [*((width, 1) for width in widths), *([(1, SEQUENCES)] if sequences == SEQUENCES else [])]
    # In rounds, so that a busy moment of the machine is not taken for the cost of one width.
    fastest = {shape: forward_s(*shape) for shape in shapes}
    left_s = ENOUGH_S
    for _ in range(ROUNDS - 1):
        for shape in shapes:
            if fastest[shape] <= left_s:
                again_s = forward_s(*shape)
                fastest[shape], left_s = min(fastest[shape], again_s), left_s - again_s
    for kv in kvs:
        kv.free()
    alone_s = fastest[SEQUENCES, 1]
    together_s = fastest.get((1, SEQUENCES), alone_s) - alone_s
    return ForwardTimes(
        by_rows={width: fastest[width, 1] for width in widths},
        sequence_s=max(0.0, together_s / (SEQUENCES - 1)),
    )
