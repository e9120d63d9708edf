"""The target's choices at the nodes of a step's trees: one by one where they are cheap to ask for, or all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass

import torch

from outrider_serving.engine.batch_sampler import choose_all
from outrider_serving.engine.sampler import Choice, NoChoice, Place, choose_at
from outrider_serving.engine.tree import ROOT, Tree
from outrider_serving.target.sequence import Sequence

Chooser = Callable[[int], Choice]


@dataclass(frozen=True)
class Forwarded:
    """A sequence, its tree, and the logits that came out: [1 + nodes, vocabulary], row 0 the root's."""

    sequence: Sequence
    tree: Tree
    logits: torch.Tensor


def choosers(forwarded: Many[Forwarded], tolerance: float) -> list[Chooser]:
    """For each sequence, what gives the choice after a node (or ROOT), or raises NoChoice.

    On a CPU a choice is made when it is asked for, since a walk reaches few nodes and each costs passes over the
    vocabulary. On a device all are made there and fetched together: asking one by one would wait for it each time.
    """
    if not forwarded or forwarded[0].logits.device.type == "cpu":
        return [_when_asked(one, tolerance) for one in forwarded]
    return at_once(forwarded, tolerance)


def at_once(forwarded: Many[Forwarded], tolerance: float) -> list[Chooser]:
    """All the choices of a step, by one transfer from the device."""
    nodes = [range(ROOT, len(one.tree)) for one in forwarded]
    places = [
        _place(one, node, tolerance) for one, own_nodes in zip(forwarded, nodes, strict=True) for node in own_nodes
    ]
    made = iter(choose_all([one.logits for one in forwarded], places))
    return [_made(dict(zip(own_nodes, made, strict=False))) for own_nodes in nodes]


def _made(choices: Mapping[int, Choice | None]) -> Chooser:
    def choose(node: int) -> Choice:
        choice = choices[node]
        if choice is None:
            raise NoChoice
        return choice

    return choose


def _when_asked(one: Forwarded, tolerance: float) -> Chooser:
    return lambda node: choose_at(one.logits[node + 1], _place(one, node, tolerance))


def _place(one: Forwarded, node: int, tolerance: float) -> Place:
    tree = one.tree
    path = tuple(reversed([tree.tokens[above] for above in tree.ancestors(node)]))
    children = tuple(token for token, parent in zip(tree.tokens, tree.parents, strict=True) if parent == node)
    return one.sequence.place(path, children if tolerance else (), tolerance)
