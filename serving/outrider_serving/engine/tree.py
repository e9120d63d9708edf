"""Token trees: what a draft proposes and a target verifies.

A tree hangs below the last committed token of a sequence (its root, which is not a node). Nodes are in an order
in which a parent comes before its children.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

ROOT = -1


class Source(IntEnum):
    """Who proposed a node. Acceptance is calibrated apart for each."""

    DRAFT = 0
    NGRAM = 1


@dataclass(frozen=True)
class Tree:
    """An immutable token tree.

    tokens: the node's token. parents: index of the parent node, ROOT below the root. scores: log of the
    proposer's belief that the node is right, given that its parent is. sources: who proposed it.
    """

    tokens: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    sources: tuple[Source, ...] = field(default=())

    def __post_init__(self) -> None:
        if not len(self.tokens) == len(self.parents) == len(self.scores) == len(self.sources):
            raise ValueError("tokens, parents, scores and sources of a tree must have one entry a node")
        if any(not ROOT <= parent < node for node, parent in enumerate(self.parents)):
            raise ValueError("a node's parent must come before it")

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """Depth of each node: 1 below the root."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(1 if parent == ROOT else depths[parent] + 1)
        return tuple(depths)

    @cached_property
    def ranks(self) -> tuple[int, ...]:
        """Rank of each node among its parent's children of the same source: 0 for the highest score."""
        ranks = [0] * len(self)
        counted: dict[tuple[int, Source], int] = {}
        for node in sorted(range(len(self)), key=lambda node: -self.scores[node]):
            family = (self.parents[node], self.sources[node])
            ranks[node] = counted.get(family, 0)
            counted[family] = ranks[node] + 1
        return tuple(ranks)

    @cached_property
    def _children(self) -> dict[tuple[int, int], int]:
        return {
            (parent, token): node for node, (parent, token) in enumerate(zip(self.parents, self.tokens, strict=True))
        }

    def child(self, parent: int, token: int) -> int | None:
        """The child of `parent` (a node or ROOT) that holds `token`."""
        return self._children.get((parent, token))

    def ancestors(self, node: int) -> Iterator[int]:
        """The node itself, then its parents up to the root's child."""
        while node != ROOT:
            yield node
            node = self.parents[node]

    @cached_property
    def attention(self) -> NDArray[np.bool_]:
        """bool [1 + nodes, 1 + nodes], row and column 0 the root: which row may attend to which."""
        size = len(self) + 1
        allowed = np.zeros((size, size), dtype=np.bool_)
        allowed[0, 0] = True
        for node, parent in enumerate(self.parents):
            allowed[node + 1] = allowed[parent + 1]
            allowed[node + 1, node + 1] = True
        return allowed

    def path_probabilities(self, conditional: Sequence[float]) -> list[float]:
        """Probability that each node's whole path is right, from the nodes' conditional probabilities."""
        paths: list[float] = []
        for parent, probability in zip(self.parents, conditional, strict=True):
            paths.append(probability * (1.0 if parent == ROOT else paths[parent]))
        return paths

    def keep(self, nodes: Iterable[int]) -> Tree:
        """The tree of just these nodes; each one's parent must be among them."""
        kept = sorted(set(nodes))
        renumbered = {ROOT: ROOT} | {node: index for index, node in enumerate(kept)}
        return Tree(
            tokens=tuple(self.tokens[node] for node in kept),
            parents=tuple(renumbered[self.parents[node]] for node in kept),
            scores=tuple(self.scores[node] for node in kept),
            sources=tuple(self.sources[node] for node in kept),
        )

    def rerooted(self, path: Iterable[int]) -> Tree:
        """What is left once the tokens of `path` are committed: the subtree below their last node.

        Empty when the path leaves the tree: every branch of it was wrong.
        """
        root = ROOT
        for token in path:
            child = self.child(root, token)
            if child is None:
                return Tree()
            root = child
        if root == ROOT:
            return self
        below = {root: ROOT}
        nodes: list[int] = []
        for node in range(root + 1, len(self)):
            if self.parents[node] in below:
                below[node] = len(nodes)
                nodes.append(node)
        return Tree(
            tokens=tuple(self.tokens[node] for node in nodes),
            parents=tuple(below[self.parents[node]] for node in nodes),
            scores=tuple(self.scores[node] for node in nodes),
            sources=tuple(self.sources[node] for node in nodes),
        )


def chain(tokens: Sequence[int], probabilities: Sequence[float], source: Source) -> Tree:
    """A tree of one branch."""
    return Tree(
        tokens=tuple(tokens),
        parents=tuple(range(-1, len(tokens) - 1)),
        scores=tuple(math.log(max(p, 1e-9)) for p in probabilities),
        sources=(source,) * len(tokens),
    )


def merge(first: Tree, second: Tree) -> Tree:
    """Both trees in one. A path that both hold is `first`'s where they agree: its score and source stand."""
    if not len(first):
        return second
    if not len(second):
        return first
    tokens, parents = list(first.tokens), list(first.parents)
    scores, sources = list(first.scores), list(first.sources)
    placed = {ROOT: ROOT}
    for node, (token, parent) in enumerate(zip(second.tokens, second.parents, strict=True)):
        under = placed[parent]
        shared = first.child(under, token) if under < len(first) else None
        if shared is None:
            shared = len(tokens)
            tokens.append(token)
            parents.append(under)
            scores.append(second.scores[node])
            sources.append(second.sources[node])
        placed[node] = shared
    return Tree(tuple(tokens), tuple(parents), tuple(scores), tuple(sources))
