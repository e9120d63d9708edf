"""What a forward of this model costs on this machine, measured before its server is ready.

The first forwards of a process cost several times the later ones; no request should pay for that.
"""

from __future__ import annotations

import time

from outrider_serving.engine.attention import Rows
from outrider_serving.engine.model_runner import ModelRunner

WIDTHS_TOKENS = (1, 2, 4, 8, 16, 32)
CONTEXT_TOKENS = 64
ROUNDS = 4
# Where another process computes on the same cores, one round has to do; the estimate is followed while running.
ENOUGH_S = 3.0


def measure_forwards(runner: ModelRunner) -> list[tuple[int, float]]:
    """(rows, seconds) of forwards over a short context; of a few each the fastest, because noise only ever adds."""
    kv = runner.new_kv()

    def forward_s(width: int) -> float:
        started = time.perf_counter()
        start = kv.length
        runner.forward([Rows(kv, tokens=[1] * width, positions=range(start, start + width))])
        kv.compact(start, [])
        return time.perf_counter() - started

    runner.forward([Rows(kv, tokens=[1] * CONTEXT_TOKENS, positions=range(CONTEXT_TOKENS))])
    # In rounds, so that a busy moment of the machine is not taken for the cost of one width.
    rounds: list[list[float]] = []
    while len(rounds) < ROUNDS and sum(map(sum, rounds)) < ENOUGH_S:
        rounds.append([forward_s(width) for width in WIDTHS_TOKENS])
    kv.free()
    return [(width, min(taken)) for width, taken in zip(WIDTHS_TOKENS, zip(*rounds, strict=True), strict=True)]
