"""What the draft keeps of one sequence: its tokens, its cache, and the tree that grows below the last token."""

from __future__ import annotations

import math
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace

import numpy as np

from outrider_serving.draft.grow import Limits, leaves
from outrider_serving.engine.calibration import Calibration, Proposal
from outrider_serving.engine.kv_cache import SequenceKV
from outrider_serving.engine.processors import History
from outrider_serving.engine.rows import Rows
from outrider_serving.engine.sampler import Guesses, Place
from outrider_serving.engine.sampling import Sampling
from outrider_serving.engine.tree import ROOT, Source, Tree
from outrider_serving.protocol.errors import ProtocolError


@dataclass
class Node:
    """score: the draft's log belief given the parent. rank: 0 for the parent's likeliest child. path: calibrated
    probability that the whole path is right. row: its row in the cache, once it has been forwarded; its children are
    known from then on.
    """

    token: int
    parent: int
    depth: int
    score: float
    path: float
    rank: int
    row: int | None = None


def _proposal(node: Node) -> Proposal:
    return Proposal(Source.DRAFT, node.score, node.depth, node.rank)


class Session:
    """Filled by commits (tokens) and forwards (cache and nodes). The cache holds `_prefix` committed tokens,
    then tree rows.
    """

    def __init__(
        self,
        tokens: Many[int],
        prompt_tokens: int,
        sampling: Sampling,
        vocabulary_size: int,
        limits: Limits,
        kv: SequenceKV,
        calibration: Calibration,
    ) -> None:
        self.tokens = list(tokens)
        self.limits = limits
        self.nodes: list[Node] = []
        self._sampling = sampling
        self._history: History | None = None
        if sampling.edits_logits:
            self._history = History(sampling, tokens, prompt_tokens, vocabulary_size)
        self._kv = kv
        self._calibration = calibration
        # What an earlier session of the same tokens left in the pool need not be read again.
        self._prefix = kv.share(self.tokens)
        self._expanding: list[int] = []

    def free(self) -> None:
        """The session is over: its blocks are others'."""
        self._kv.free_unproved()

    def blocks_missing(self, rows: int) -> int:
        """Blocks of the pool that so many rows more would take."""
        return self._kv.blocks_missing(rows)

    def take_blocks(self) -> None:
        """Reserves what reading the tokens needs."""
        self._kv.reserve(self.behind)

    def next_rows(self, expand: Many[int]) -> int:
        """How many rows `rows` would give at most."""
        return self.behind or len(expand)

    @property
    def behind(self) -> int:
        """Committed tokens that have not been forwarded. The root is one of them until its children are known."""
        return len(self.tokens) - self._prefix

    @property
    def leaves(self) -> list[int]:
        """The nodes that a level could expand, likeliest first; none while the root's children are not known."""
        return [] if self.behind else leaves(self.nodes, len(self.tokens), self.limits)

    def commit(self, position: int, tokens: Many[int]) -> list[bool]:
        """The target emitted `tokens` from index `position` on: re-roots the tree at the last of them and
        prunes the rest.

        Returns, for each node of the old tree that had known children and was reached, whether the right one
        was among them. Raises ProtocolError when the position is not where the sequence ends.
        """
        if position != len(self.tokens):
            raise ProtocolError(f"commit at {position}, but the sequence has {len(self.tokens)} tokens")
        outcomes: list[bool] = []
        path: list[int] = []
        at: int | None = ROOT
        for token in tokens:
            at = self._follow(at, token, outcomes) if at is not None else None
            if at is not None:
                path.append(at)
        self.tokens.extend(tokens)
        if self._history is not None:
            self._history.extend(tokens)
        self._reroot(path, whole=len(path) == len(tokens))
        return outcomes

    def _follow(self, at: int, token: int, outcomes: list[bool]) -> int | None:
        known = [index for index, node in enumerate(self.nodes) if node.parent == at]
        if not known:
            return None
        right = next((index for index in known if self.nodes[index].token == token), None)
        outcomes.append(right is not None)
        for index in known:
            self._calibration.observe(_proposal(self.nodes[index]), index == right)
        return right

    def _reroot(self, path: list[int], whole: bool) -> None:
        """Rows of the accepted path become committed; the subtree below its end stays if the whole commit was
        foreseen.
        """
        committed = [row for row in (self.nodes[index].row for index in path) if row is not None]
        kept: dict[int, int] = {path[-1]: ROOT} if whole else {}
        subtree: list[Node] = []
        for index, node in enumerate(self.nodes):
            if node.parent in kept:
                kept[index] = len(subtree)
                subtree.append(replace(node, parent=kept[node.parent], depth=node.depth - len(path)))
        rows = sorted(node.row for node in subtree if node.row is not None)
        if self._kv.length > self._prefix:  # else it gives back what is reserved for tokens that are still to be read
            self._kv.compact(self._prefix, committed + rows)
        self._prefix += len(committed)
        self._publish()
        moved = {row: self._prefix + index for index, row in enumerate(rows)}
        for node in subtree:
            node.row = None if node.row is None else moved[node.row]
        self.nodes = subtree
        self._weigh()

    def _publish(self) -> None:
        self._kv.publish(self.tokens[: self._prefix])

    def _weigh(self) -> None:
        for node in self.nodes:
            above = 1.0 if node.parent == ROOT else self.nodes[node.parent].path
            node.path = above * self._calibration.estimate(_proposal(node))

    def rows(self, expand: Many[int] = (), most: int | None = None) -> Rows:
        """What the next forward computes for this sequence: tokens that are behind, `most` of them or all, else the
        children of `expand`.
        """
        if self.behind:
            chunk = self.tokens[self._prefix :][:most]
            last = self._prefix + len(chunk) == len(self.tokens)
            self._expanding = [ROOT] if last else []
            return Rows(
                kv=self._kv,
                tokens=chunk,
                positions=range(self._prefix, self._prefix + len(chunk)),
                logits_from=len(chunk) - 1 if last else len(chunk),
            )
        self._expanding = list(expand)
        root = len(self.tokens) - 1
        existing = self._kv.length - self._prefix
        visible = np.zeros((len(self._expanding), existing + len(self._expanding)), dtype=np.bool_)
        for index, node in enumerate(self._expanding):
            visible[index, existing + index] = True
            visible[index, [row - self._prefix for row in self._ancestor_rows(node)]] = True
        return Rows(
            kv=self._kv,
            tokens=[self.nodes[node].token for node in self._expanding],
            positions=[root + self.nodes[node].depth for node in self._expanding],
            visible=visible,
        )

    def _ancestor_rows(self, node: int) -> list[int]:
        rows = []
        parent = self.nodes[node].parent
        while parent != ROOT:
            row = self.nodes[parent].row
            if row is None:
                raise AssertionError("a node's parent is forwarded before it")
            rows.append(row)
            parent = self.nodes[parent].parent
        return rows

    def places(self) -> list[Place]:
        """Where the forward of `rows()` gives logits: after each node that is expanded."""
        return [self._place(node) for node in self._expanding]

    def _place(self, node: int) -> Place:
        path: list[int] = []
        while node != ROOT:
            path.append(self.nodes[node].token)
            node = self.nodes[node].parent
        edits = None if self._history is None else self._history.edits(path)
        return Place(self._sampling, len(self.tokens) + len(path), edits)

    def absorb(self, guesses: Many[Guesses]) -> None:
        """Takes what was guessed at each of `places()`, after the forward of `rows()`."""
        if self.behind:
            self._prefix = self._kv.length
            self._publish()
        else:
            first = self._kv.length - len(self._expanding)
            for index, node in enumerate(self._expanding):
                self.nodes[node].row = first + index
        for node, guessed in zip(self._expanding, guesses, strict=True):
            self._add_children(node, guessed)
        self._expanding = []

    def _add_children(self, parent: int, guesses: Guesses) -> None:
        depth, above = (0, 1.0) if parent == ROOT else (self.nodes[parent].depth, self.nodes[parent].path)
        for rank, (token, score) in enumerate(guesses):
            node = Node(token, parent, depth + 1, score, path=above, rank=rank)
            node.path *= self._calibration.estimate(_proposal(node))
            if node.path >= self.limits.min_probability:
                self.nodes.append(node)

    def tree(self) -> Tree:
        """The likeliest nodes, as many as the limits allow, in an order in which parents come first."""
        order = sorted(range(len(self.nodes)), key=lambda index: (-self.nodes[index].path, index))
        whole = Tree(
            tokens=tuple(node.token for node in self.nodes),
            parents=tuple(node.parent for node in self.nodes),
            scores=tuple(max(node.score, -math.inf) for node in self.nodes),
            sources=(Source.DRAFT,) * len(self.nodes),
        )
        return whole.keep(order[: self.limits.max_nodes])
