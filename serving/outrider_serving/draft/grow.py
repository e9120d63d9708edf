"""Which leaves the draft expands next, and whether another level pays. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


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


def frontier(nodes: Sequence[Leaf], sequence_length: int, limits: Limits) -> list[int]:
    """The likeliest leaves, `max_branches` at most: a batch of them costs the draft hardly more than one.

    Only leaves among the `max_nodes` likeliest nodes, since no others are sent; none outside the draft's
    context, or too deep.
    """
    deepest = min(limits.max_depth, limits.max_model_len_tokens - sequence_length + 1)
    likeliest = sorted(range(len(nodes)), key=lambda index: -nodes[index].path)[: limits.max_nodes]
    leaves = [index for index in likeliest if nodes[index].row is None and nodes[index].depth < deepest]
    return leaves[: limits.max_branches]


def another_level_pays(
    gain: float, expected_tokens: float, target_step_s: float, spent_s: float, level_s: float
) -> bool:
    """Whether tokens per second rise by one more level, where the target waits for it.

    With E tokens expected from a step of T + spent seconds, a level that takes `level_s` and adds `gain` tokens
    pays iff gain / level_s > E / (T + spent).
    """
    return gain * (target_step_s + spent_s) > level_s * expected_tokens
