"""Which leaves the draft expands next, and whether another level pays. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from outrider_serving.engine.step_time import StepTime


class Leaf(Protocol):
    """What growth needs to know of a node; `row` is None until its children are known."""

    depth: int
    path: float
    row: int | None


@dataclass(frozen=True)
class Limits:
    """How large a tree may grow, and the draft's own context length."""

    max_depth: int
    max_branches: int
    max_nodes: int
    min_probability: float
    max_model_len_tokens: int


def leaves(nodes: Sequence[Leaf], sequence_length: int, limits: Limits) -> list[int]:
    """The leaves that could be expanded, likeliest first.

    Only those among the `max_nodes` likeliest nodes, since no others are sent; none outside the draft's context,
    or too deep.
    """
    deepest = min(limits.max_depth, limits.max_model_len_tokens - sequence_length + 1)
    likeliest = sorted(range(len(nodes)), key=lambda index: -nodes[index].path)[: limits.max_nodes]
    return [index for index in likeliest if nodes[index].row is None and nodes[index].depth < deepest]


def goodput(paths: Sequence[float], sequences: int, step_s: float, node_s: float) -> float:
    """Tokens a second of a target's step over the trees of some sequences, of whose nodes, of probabilities `paths`, it
    verifies as many as earn most:

        max over n of  (sequences + sum of the n best P(path)) / (step_s + n * node_s)
    """
    expected = sequences + np.cumsum([0.0, *sorted(paths, reverse=True)])
    seconds = step_s + node_s * np.arange(len(expected))
    return float(np.max(expected / np.maximum(seconds, 1e-9)))


def level_rows(
    paths: Sequence[float],
    hit_rate: float,
    level_time: StepTime,
    rows_anyway: int,
    rate: float | None,
    node_s: float = 0.0,
) -> int:
    """How many leaves the next level expands, of `paths`, their probabilities in falling order; 0: none pays.

    Expanding a leaf earns hit_rate * P(path) tokens; a level of n rows takes `level_time` seconds, of which the
    `rows_anyway` of other work are not its own. Where the target waits, its time is worth `rate` tokens a second,
    to verify what a leaf brings takes `node_s` of it, and the level is as wide as earns most after all is paid:

        argmax over n of  hit_rate * sum of the n best P(path)  -  rate * (n * node_s + L(rows + n) - L(rows))

    None: nobody waits, and the level is as wide as gives most tokens per second of the draft's time.
    """
    gains = hit_rate * np.cumsum([0.0, *paths])
    seconds = level_time.predict(rows_anyway + np.arange(len(gains), dtype=np.float64))
    if rows_anyway:
        seconds = seconds - seconds[0]
    seconds[0] = 0.0
    if rate is None:
        return int(np.argmax(gains[1:] / np.maximum(seconds[1:], 1e-9))) + 1 if len(paths) else 0
    return int(np.argmax(gains - rate * (seconds + node_s * np.arange(len(gains)))))
