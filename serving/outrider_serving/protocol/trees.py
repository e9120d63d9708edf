"""Trees on the wire, checked on the way in: a draft may lie, and must not be able to do harm by it."""

from __future__ import annotations

import math

from outrider_serving.engine.tree import Source, Tree
from outrider_serving.protocol.errors import ProtocolError
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb

MOST_NODES = 4096


def tree_to_message(tree: Tree, sequence: int, epoch: int, base_position: int, final: bool) -> pb.Tree:
    return pb.Tree(
        sequence=sequence,
        epoch=epoch,
        base_position=base_position,
        tokens=tree.tokens,
        parents=[parent + 1 for parent in tree.parents],
        scores=tree.scores,
        final=final,
    )


def tree_from_message(message: pb.Tree, vocabulary_size: int) -> Tree:
    """Raises ProtocolError for a tree that no honest draft sends."""
    size = len(message.tokens)
    if size > MOST_NODES:
        raise ProtocolError(f"a tree of {size} nodes; at most {MOST_NODES} are taken")
    if not size == len(message.parents) == len(message.scores):
        raise ProtocolError("tokens, parents and scores of a tree differ in length")
    if any(token >= vocabulary_size for token in message.tokens):
        raise ProtocolError(f"a token outside the vocabulary of {vocabulary_size}")
    if any(parent > node for node, parent in enumerate(message.parents)):
        raise ProtocolError("a node comes before its parent")
    if not all(math.isfinite(score) for score in message.scores):
        raise ProtocolError("a score that is not a finite number")
    return Tree(
        tokens=tuple(message.tokens),
        parents=tuple(parent - 1 for parent in message.parents),
        scores=tuple(min(score, 0.0) for score in message.scores),
        sources=(Source.DRAFT,) * size,
    )
