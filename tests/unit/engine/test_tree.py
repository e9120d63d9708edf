"""Trees: merging, pruning and re-rooting keep every path that they should, and no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outrider_serving.engine.tree import ROOT, Source, Tree, chain, merge


@st.composite
def trees(draw: st.DrawFn, source: Source = Source.DRAFT, most: int = 12) -> Tree:
    """Trees without two children of one node that hold the same token, as a proposer makes them."""
    tokens: list[int] = []
    parents: list[int] = []
    for node in range(draw(st.integers(0, most))):
        parent = draw(st.integers(ROOT, node - 1))
        token = draw(st.integers(0, 5))
        if (parent, token) not in zip(parents, tokens, strict=True):
            tokens.append(token)
            parents.append(min(parent, len(tokens) - 2))
    pairs = dict.fromkeys(zip(parents, tokens, strict=True))
    if len(pairs) < len(tokens):
        return Tree()
    return Tree(tuple(tokens), tuple(parents), (-0.5,) * len(tokens), (source,) * len(tokens))


def paths(tree: Tree) -> set[tuple[int, ...]]:
    return {tuple(tree.tokens[node] for node in reversed(list(tree.ancestors(last)))) for last in range(len(tree))}


@given(trees(), trees(Source.NGRAM))
def test_a_merged_tree_holds_the_paths_of_both_and_no_other(first: Tree, second: Tree) -> None:
    assert paths(merge(first, second)) == paths(first) | paths(second)


@given(trees(), trees(Source.NGRAM))
def test_a_path_that_both_propose_is_the_first_proposers(first: Tree, second: Tree) -> None:
    merged = merge(first, second)
    assert merged.tokens[: len(first)] == first.tokens
    assert all(source is Source.NGRAM for source in merged.sources[len(first) :])


@given(trees(), st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_rerooting_keeps_exactly_what_is_below_the_committed_path(tree: Tree, path: list[int]) -> None:
    below = {
        found[len(path) :] for found in paths(tree) if found[: len(path)] == tuple(path) and len(found) > len(path)
    }
    assert paths(tree.rerooted(path)) == below


@given(trees())
def test_a_row_attends_to_its_ancestors_and_itself(tree: Tree) -> None:
    for node in range(len(tree)):
        seen = {row - 1 for row in range(len(tree) + 1) if tree.attention[node + 1, row]}
        assert seen == {ROOT, *tree.ancestors(node)}


def test_path_probabilities_multiply_along_the_path() -> None:
    tree = Tree((1, 2, 3), (ROOT, 0, ROOT), (0.0,) * 3, (Source.DRAFT,) * 3)
    assert tree.path_probabilities([0.5, 0.5, 0.25]) == [0.5, 0.25, 0.25]


def test_kept_nodes_keep_their_parents() -> None:
    tree = Tree((1, 2, 3, 4), (ROOT, ROOT, 1, 2), (0.0,) * 4, (Source.DRAFT,) * 4)
    assert paths(tree.keep([1, 2])) == {(2,), (2, 3)}


def test_a_node_before_its_parent_is_refused() -> None:
    with pytest.raises(ValueError, match="parent must come before"):
        Tree((1, 2), (1, ROOT), (0.0, 0.0), (Source.DRAFT,) * 2)


def test_a_chain_is_one_branch() -> None:
    assert paths(chain([7, 8, 9], [0.9, 0.8, 0.7], Source.NGRAM)) == {(7,), (7, 8), (7, 8, 9)}
