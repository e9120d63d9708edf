"""What the draft keeps of a sequence: re-rooting keeps a tree as if it had been grown anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outrider_serving.draft.grow import Limits, goodput, leaves, level_rows
from outrider_serving.draft.session import Node, Session
from outrider_serving.engine.batch_sampler import propose_all
from outrider_serving.engine.calibration import Calibration
from outrider_serving.engine.kv_pool import BLOCK_TOKENS
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.sampling import Sampling
from outrider_serving.engine.step_time import StepTime
from outrider_serving.engine.tree import ROOT
from outrider_serving.protocol.errors import ProtocolError
from support.pair import random_llama

RUNNER = ModelRunner(random_llama(2))
GREEDY = Sampling(0.0, 1.0, 0)
WIDTH = 3
LIMITS = Limits(max_depth=6, max_branches=3, max_nodes=24, min_probability=0.0, max_model_len_tokens=1024)


def session(tokens: list[int], limits: Limits = LIMITS) -> Session:
    return Session(tokens, len(tokens), GREEDY, RUNNER.vocabulary_size, limits, RUNNER.new_kv(), Calibration())


def grown(tokens: list[int], levels: int, limits: Limits = LIMITS) -> Session:
    one = session(tokens, limits)
    for _ in range(levels):
        grow(one)
    return one


def grow(one: Session) -> None:
    (logits,) = RUNNER.forward([one.rows(one.leaves[:WIDTH])])
    one.absorb(propose_all([logits], one.places(), [one.limits.max_branches] * len(logits)))


def branches(one: Session) -> dict[tuple[int, ...], float]:
    """Every path of the tree with its score."""
    tree = one.tree()
    return {
        tuple(tree.tokens[above] for above in reversed(list(tree.ancestors(node)))): round(tree.scores[node], 4)
        for node in range(len(tree))
    }


def test_a_commit_while_the_prompt_is_read_gives_no_block_of_it_away() -> None:
    pool = RUNNER.pool
    before = pool.referenced
    one = session([7] * (5 * BLOCK_TOKENS))
    one.take_blocks()
    RUNNER.forward([one.rows(most=BLOCK_TOKENS)])
    one.absorb([])
    held = pool.referenced - before
    one.commit(5 * BLOCK_TOKENS, [3])
    assert pool.referenced - before == held >= 5
    one.free()
    assert pool.referenced == before


def test_a_level_expands_the_likeliest_leaves() -> None:
    one = grown([1, 2, 3], levels=1)
    best = max(one.nodes, key=lambda node: node.path)
    grow(one)
    assert best.row is not None
    assert sum(node.row is not None for node in one.nodes) == WIDTH


def test_rerooting_keeps_scores_that_growing_anew_would_give() -> None:
    one = grown([1, 2, 3, 4], levels=4)
    tree = one.tree()
    first = next(node for node in range(len(tree)) if any(parent == node for parent in tree.parents))
    committed = [tree.tokens[first]]
    below = {path[1:]: score for path, score in branches(one).items() if path[:1] == (committed[0],) and path[1:]}
    one.commit(4, committed)
    assert {path: score for path, score in branches(one).items() if path in below} == below
    grow(one)
    anew = branches(grown([1, 2, 3, 4, *committed], levels=5))
    shared = set(branches(one)) & set(anew)
    assert shared
    assert all(branches(one)[path] == pytest.approx(anew[path], abs=2e-3) for path in shared)


def test_a_commit_that_leaves_the_tree_prunes_all_of_it_and_growth_starts_over() -> None:
    one = grown([1, 2, 3, 4], levels=3)
    absent = next(token for token in range(256) if one.tree().child(ROOT, token) is None)
    one.commit(4, [absent])
    assert one.nodes == []
    grow(one)
    assert branches(one) == branches(grown([1, 2, 3, 4, absent], levels=1))


def test_a_commit_of_several_tokens_reuses_the_rows_of_the_accepted_ones() -> None:
    one = grown([1, 2, 3, 4], levels=4)
    tree = one.tree()
    deep = max(range(len(tree)), key=lambda node: tree.depths[node])
    path = [tree.tokens[node] for node in reversed(list(tree.ancestors(deep)))]
    one.commit(4, [*path, 17])
    assert one.behind <= 2  # the last accepted leaf, if it was never expanded, and the bonus token
    while one.behind:
        grow(one)
    expected = branches(grown([1, 2, 3, 4, *path, 17], levels=1))
    assert set(branches(one)) == set(expected)


def test_a_commit_at_another_position_breaks_the_protocol() -> None:
    with pytest.raises(ProtocolError, match="commit at 9"):
        grown([1, 2, 3], levels=1).commit(9, [4])


def test_a_tree_stays_within_depth_nodes_and_context() -> None:
    limits = Limits(max_depth=3, max_branches=4, max_nodes=7, min_probability=0.0, max_model_len_tokens=1024)
    one = session([1, 2, 3], limits)
    for _ in range(12):
        if not (one.behind or one.leaves):
            break
        grow(one)
    assert not one.leaves
    assert len(one.tree()) == 7
    assert max(one.tree().depths) <= 3
    short = Limits(max_depth=6, max_branches=2, max_nodes=20, min_probability=0.0, max_model_len_tokens=4)
    edge = session([1, 2, 3], short)
    while edge.behind or edge.leaves:
        grow(edge)
    assert max(edge.tree().depths) <= 2


def test_improbable_paths_are_pruned() -> None:
    limits = Limits(max_depth=4, max_branches=4, max_nodes=32, min_probability=0.2, max_model_len_tokens=1024)
    one = grown([5, 6], levels=3, limits=limits)
    assert all(node.path >= 0.2 for node in one.nodes)


def test_the_leaves_leave_out_what_is_not_among_the_nodes_that_are_sent() -> None:
    nodes = [Node(1, ROOT, 1, -0.1, 0.9, 0, row=3), Node(2, 0, 2, -0.1, 0.8, 0), Node(3, ROOT, 1, -3.0, 0.05, 1)]
    limits = Limits(max_depth=4, max_branches=4, max_nodes=2, min_probability=0.0, max_model_len_tokens=99)
    assert leaves(nodes, 3, limits) == [1]


FLAT = StepTime([(1, 0.09), (8, 0.09), (16, 0.2)])


def test_a_level_pays_while_it_earns_more_a_second_than_the_step_as_it_is() -> None:
    # A target step of 200 ms and levels of 90 ms: a sure next token pays, an even chance after three levels does not.
    assert level_rows([0.9], 1.0, FLAT, 0, rate=1.9 / (0.2 + 0.09)) == 1
    assert level_rows([0.5], 1.0, FLAT, 0, rate=3.3 / (0.2 + 0.27)) == 0


def test_a_level_is_as_wide_as_costs_nothing_more() -> None:
    assert level_rows([0.5, *[0.01] * 20], 1.0, FLAT, 0, rate=2.0) == 8


def test_a_level_beside_other_work_pays_for_its_own_rows_only() -> None:
    assert level_rows([0.1], 1.0, FLAT, 0, rate=2.0) == 0
    assert level_rows([0.1], 1.0, FLAT, 3, rate=2.0) == 1


def test_where_nobody_waits_a_level_is_always_grown_and_as_wide_as_gives_most_a_second() -> None:
    assert level_rows([0.001], 1.0, FLAT, 0, rate=None) == 1
    assert level_rows([0.5, *[0.01] * 20], 1.0, FLAT, 0, rate=None) == 8
    assert level_rows([], 1.0, FLAT, 0, rate=None) == 0


def test_a_leaf_whose_tokens_cost_the_target_more_than_they_are_worth_is_not_expanded() -> None:
    # At 10 tokens a second a node of 40 ms has to bring 0.4 of one: the third leaf would be free for the draft.
    assert level_rows([0.9, 0.8, 0.3], 1.0, FLAT, 0, rate=10.0) == 3
    assert level_rows([0.9, 0.8, 0.3], 1.0, FLAT, 0, rate=10.0, node_s=0.04) == 2
    # And what is left of the others' worth has to pay for the level: 1.7 tokens do, 0.9 do not.
    assert level_rows([0.9, 0.8, 0.3], 1.0, FLAT, 0, rate=10.0, node_s=0.05) == 0


def test_where_nobody_waits_a_leaf_is_expanded_whatever_its_tokens_cost_the_target() -> None:
    assert level_rows([0.9, 0.8, 0.3], 1.0, FLAT, 0, rate=None, node_s=1.0) == 3


def test_what_trees_are_worth_leaves_out_the_nodes_that_do_not_pay() -> None:
    # Two sequences and two nodes in 250 ms are 14.8 tokens a second; the third node would take it to 13.8.
    assert goodput([0.8, 0.1, 0.9], 2, step_s=0.2, node_s=0.025) == pytest.approx(3.7 / 0.25)
    assert goodput([0.8, 0.1, 0.9], 2, step_s=0.2, node_s=0.0) == pytest.approx(3.8 / 0.2)
    assert goodput([], 2, step_s=0.2, node_s=0.025) == pytest.approx(10.0)


@given(st.lists(st.floats(0.0, 1.0), max_size=20), st.floats(0.0, 100.0), st.integers(0, 40), st.floats(0.0, 0.1))
def test_no_other_width_earns_more(found: list[float], rate: float, rows_anyway: int, node_s: float) -> None:
    paths = sorted(found, reverse=True)
    before_s = FLAT.of(rows_anyway) if rows_anyway else 0.0

    def earned(width: int) -> float:
        spent_s = FLAT.of(rows_anyway + width) - before_s if width else 0.0
        return 0.9 * sum(paths[:width]) - rate * (width * node_s + spent_s)

    chosen = level_rows(paths, 0.9, FLAT, rows_anyway, rate, node_s)
    assert earned(chosen) >= max(earned(width) for width in range(len(paths) + 1)) - 1e-9
