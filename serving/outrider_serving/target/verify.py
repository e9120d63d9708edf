"""Verification: walks a tree by the target's own choices. Pure; the logits are behind `choose`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from outrider_serving.engine.sampler import Choice
from outrider_serving.engine.tree import ROOT, Tree


@dataclass(frozen=True)
class Walk:
    """What a verification found.

    path: the accepted nodes, from the root's child on. choices: the target's choice at the root and at each
    accepted node, so one more than `path`: the last one left the tree and is the bonus token.
    """

    path: tuple[int, ...]
    choices: tuple[Choice, ...]


def verify(tree: Tree, choose: Callable[[int], Choice]) -> Walk:
    """Descends while the target's choice is among the node's children.

    `choose(node)` is the target's choice for the position after `node` (or after ROOT). It is called for the nodes of
    the walk only, since a choice costs a pass over the vocabulary.
    """
    path: list[int] = []
    choices = [choose(ROOT)]
    node = tree.child(ROOT, choices[-1].token)
    while node is not None:
        path.append(node)
        choices.append(choose(node))
        node = tree.child(node, choices[-1].token)
    return Walk(tuple(path), tuple(choices))
