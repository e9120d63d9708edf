"""What speculation may cost: rules of the selection, the step-time curve and the gate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outrider_serving.engine.calibration import Calibration, Proposal
from outrider_serving.engine.step_time import StepTime
from outrider_serving.engine.tree import Source
from outrider_serving.target.budget import (
    COST_MARGIN,
    FIRST_REST_STEPS,
    LONGEST_REST_STEPS,
    MISSES_TO_REST,
    PROBE_GAIN,
    DraftGate,
    DraftGates,
    NodeBudget,
    Opening,
    Unread,
    node_s,
    select,
)

FLAT = StepTime([(1, 1.0), (64, 1.0)])
STEEP = StepTime([(1, 1.0), (64, 64.0)])

paths = st.lists(st.lists(st.floats(0.01, 1.0), max_size=10), min_size=1, max_size=6)


@given(paths)
def test_where_nodes_are_free_all_are_taken(found: list[list[float]]) -> None:
    assert select(found, FLAT, max_nodes=10).nodes == tuple(tuple(range(len(path))) for path in found)


@given(paths)
def test_where_a_node_costs_as_much_as_a_token_only_certain_ones_are_taken(found: list[list[float]]) -> None:
    for path, kept in zip(found, select(found, STEEP, max_nodes=10).nodes, strict=True):
        assert all(path[node] > 0.999 for node in kept)


@given(paths, st.integers(1, 10), st.floats(1.0, 4.0))
def test_no_other_number_of_nodes_has_a_higher_goodput_unless_none_pays_twice_its_cost(
    found: list[list[float]], max_nodes: int, at_64: float
) -> None:
    step_time = StepTime([(1, 1.0), (64, at_64)])
    chosen = select(found, step_time, max_nodes)
    ranked = sorted((p for path in found for p in sorted(path, reverse=True)[:max_nodes]), reverse=True)
    tokens = [len(found) + sum(ranked[:count]) for count in range(len(ranked) + 1)]
    seconds = [step_time.of(len(found) + count) for count in range(len(ranked) + 1)]
    goodputs = [some / spent for some, spent in zip(tokens, seconds, strict=True)]
    best = goodputs.index(max(goodputs))
    if len(found) > 1 and not any(chosen.nodes):
        assert tokens[best] / (seconds[0] + COST_MARGIN * (seconds[best] - seconds[0])) <= goodputs[0] + 1e-9
    else:
        assert chosen.goodput >= goodputs[best] - 1e-9


@given(paths)
def test_a_node_is_never_taken_without_its_likelier_elder(found: list[list[float]]) -> None:
    """A parent is at least as probable as its child: what is kept is closed towards the root."""
    falling = [sorted(path, reverse=True) for path in found]
    for kept in select(falling, StepTime([(1, 1.0), (64, 3.0)]), max_nodes=10).nodes:
        assert kept == tuple(range(len(kept)))


def test_the_same_trees_shrink_under_load() -> None:
    step_time = StepTime([(1, 1.0), (16, 1.1), (64, 6.0)])
    tree = [0.8, 0.64, 0.5, 0.4]
    alone = select([tree], step_time, max_nodes=8)
    crowd = select([tree] * 30, step_time, max_nodes=8)
    assert len(alone.nodes[0]) == 4
    assert sum(map(len, crowd.nodes)) / 30 < 2


def test_step_time_follows_a_machine_that_slows_down() -> None:
    step_time = StepTime([(1, 0.1), (32, 0.12)])
    for _ in range(200):
        step_time.observe(8, 0.3)
    assert step_time.of(8) == pytest.approx(0.3, rel=0.05)
    assert step_time.of(1) > 0.15


def test_one_stalled_step_hardly_moves_the_estimate() -> None:
    step_time = StepTime([(1, 0.1), (32, 0.12)])
    for _ in range(50):
        step_time.observe(4, 0.1)
    before = step_time.of(4)
    step_time.observe(4, 10.0)
    assert step_time.of(4) < 1.06 * before


@given(st.lists(st.tuples(st.integers(1, 600), st.floats(0.01, 2.0)), min_size=1, max_size=60))
def test_more_tokens_are_never_predicted_to_take_less(observed: list[tuple[int, float]]) -> None:
    step_time = StepTime([(1, 0.1), (32, 0.2)])
    for tokens, seconds in observed:
        step_time.observe(tokens, seconds)
    predicted = step_time.predict(np.arange(1, 700, dtype=np.float64))
    assert bool((np.diff(predicted) >= 0).all())


def test_a_draft_that_earns_is_asked_every_step() -> None:
    gate = DraftGate()
    for _ in range(500):
        assert gate.asks(1.0)
        gate.drafted_step(1.4, 1.0, answered=True)


def test_a_draft_that_loses_rests_and_is_tried_ever_less_often() -> None:
    gate = DraftGate()
    asked = 0
    for _ in range(6000):
        if gate.asks(1.0):
            asked += 1
            gate.drafted_step(0.7, 1.0, answered=True)
        else:
            gate.plain_step()
    assert asked < 160
    assert gate._rest_steps == LONGEST_REST_STEPS


def test_a_silent_draft_costs_two_waits_and_then_rests() -> None:
    gate = DraftGate()
    for _ in range(MISSES_TO_REST):
        assert gate.asks(1.0)
        gate.drafted_step(0.9, 1.0, answered=False)
    assert not gate.asks(1.0)
    for _ in range(FIRST_REST_STEPS):
        gate.plain_step()
    assert gate.asks(1.0)


@pytest.mark.parametrize(("lost_steps", "rest_steps"), [(0.2, 16), (2.0, 100), (9.0, 256)])
def test_a_draft_rests_the_longer_the_more_its_trial_has_lost(lost_steps: float, rest_steps: int) -> None:
    """As of a draft that had long answers to read on; never shorter than after a guess, and not for ever."""
    gate = DraftGate(first_gain=1.0)
    gate.drafted_step(1.0, 1.0 + lost_steps, answered=True)
    asked = []
    for _ in range(300):
        asked.append(gate.asks(1.0))
        gate.plain_step()
    assert asked.index(True) == rest_steps


def test_a_draft_that_recovers_is_used_again() -> None:
    gate = DraftGate()
    for step in range(3000):
        if gate.asks(1.0):
            gate.drafted_step(0.5 if step < 500 else 1.5, 1.0, answered=True)
        else:
            gate.plain_step()
    assert gate.asks(1.0)
    assert gate._rest_steps == FIRST_REST_STEPS


def test_n_grams_that_promise_more_let_the_draft_rest_for_the_step() -> None:
    gate = DraftGate()
    assert not gate.asks(3.0)
    assert gate.asks(1.0)


def test_a_prompt_that_the_draft_had_to_read_is_paid_off_by_the_steps_that_follow() -> None:
    gate = DraftGate()
    gate.drafted_step(1.0, 2.0, answered=True)
    for _ in range(20):
        assert gate.asks(1.0)
        gate.drafted_step(1.5, 1.0, answered=True)


def test_a_draft_reads_a_prompt_only_where_what_is_to_come_saves_more() -> None:
    def pays(remaining: int = 48, plain_step_s: float = 0.15, gain: float = 1.5, other_gain: float = 1.0) -> bool:
        return Opening().pays(Unread(700, 1.4, remaining), 1, plain_step_s, gain, other_gain)

    assert pays(), "one stream: 2.4 s to save, 0.7 to pay"
    assert not pays(remaining=24), "1.2 s is not twice as much, and it is a belief"
    assert not pays(plain_step_s=0.01), "a token costs little"
    assert not pays(remaining=4)
    assert not pays(gain=1.0), "a draft that earns nothing"
    assert not pays(gain=0.5), "nor one that loses"
    assert not pays(other_gain=1.3), "n-grams save most of it, and read nothing"
    assert not pays(other_gain=2.0), "nor where they do better"
    assert pays(other_gain=0.9), "what they lose is not the draft's gain"


def test_what_n_grams_earn_in_a_sequence_of_its_own_decides_after_some_steps() -> None:
    """700 tokens to read take 0.7 s; n-grams are known to earn 1.4 in others, which is too much for the draft."""

    def pays(steps: int, tokens: int) -> bool:
        unread = Unread(700, 1.4, 60, undrafted_tokens=tokens, undrafted_s=0.15 * steps)
        return Opening().pays(unread, 1, plain_step_s=0.15, gain=1.7, other_gain=1.4)

    assert not pays(0, 0), "1.1 s are to be saved, and it is a belief"
    assert pays(4, 4), "nothing came of them"
    assert not pays(4, 8), "they earn 2 here"
    assert not pays(100, 160), "and 1.6 for long, as good as the draft"


def test_one_stream_alone_needs_no_margin_once_it_has_shown_what_it_earns() -> None:
    def pays(steps: int, sequences: int) -> bool:
        unread = Unread(700, 1.4, 20 * sequences, undrafted_tokens=steps, undrafted_s=0.15 * steps)
        return Opening().pays(unread, sequences, plain_step_s=0.15, gain=1.5, other_gain=1.0)

    assert [pays(steps, 1) for steps in (0, 4, 40)] == [False, False, True], "1.0 s to save, 0.7 to pay"
    assert not pays(40, 2), "while one is read, the other stands still"


def test_beside_a_prompt_a_node_costs_what_a_token_of_it_does() -> None:
    # Up to 16 rows take as long as one, as on a matrix unit of 16 rows; each further row as long as one of a prompt.
    step_time = StepTime([(1, 0.15), (16, 0.15), (80, 0.28), (256, 0.64)])
    unlikely = [[0.01, 0.008]] * 4
    assert sum(map(len, select(unlikely, step_time, max_nodes=8).nodes)) == 8, "free nodes are taken, however unlikely"
    assert sum(map(len, select(unlikely, step_time, max_nodes=8, prompt_tokens=64).nodes)) == 0
    likely = [[0.5]] * 4
    assert sum(map(len, select(likely, step_time, max_nodes=8, prompt_tokens=64).nodes)) == 4


def test_a_token_is_worth_no_more_for_the_prompts_that_are_read_in_its_step() -> None:
    # A row takes 1 ms and a token saves 26, a quarter of a plain step; a node has to earn twice what it costs.
    step_time = StepTime([(1, 0.10), (4, 0.103), (1024, 1.123)])
    for probability, pays in ((0.035, False), (0.09, True)):
        for prompt_tokens in (0, 64, 1000):
            kept = select([[probability]] * 4, step_time, max_nodes=8, prompt_tokens=prompt_tokens)
            assert bool(sum(map(len, kept.nodes))) == pays, f"{probability} beside {prompt_tokens}"


def test_nodes_that_earn_little_more_than_they_cost_are_left() -> None:
    # Eight nodes beside eight sequences cost 4 % of the step, half a token to believe in would pay 1.5 times.
    step_time = StepTime([(8, 0.150), (16, 0.156)])
    assert sum(map(len, select([[0.06]] * 8, step_time, max_nodes=8).nodes)) == 0
    assert sum(map(len, select([[0.09]] * 8, step_time, max_nodes=8).nodes)) == 8


def test_what_reading_takes_is_learnt_from_the_steps_that_waited_for_it() -> None:
    opening = Opening()

    def pays() -> bool:
        return opening.pays(Unread(100, 0.2, remaining=10), 1, plain_step_s=0.1, gain=2.0, other_gain=1.0)

    assert pays()
    opening.asked([1], unread=0, wait_s=0.1)
    opening.asked([1, 2], unread=200, wait_s=2.1)
    assert not pays(), "100 tokens take a second, and half a second is to be saved"
    assert opening.opened(1)
    for _ in range(40):
        opening.asked([3], unread=200, wait_s=0.2)
    for _ in range(40):
        opening.asked([1], unread=0, wait_s=9.0)
    assert pays(), "a step that read no prompt says nothing of reading"
    opening.forget(1)
    assert not opening.opened(1)


def test_levels_are_not_taken_for_reading() -> None:
    """A short prompt's first step waits for its tree as any other does: a long prompt is not read that slowly."""
    opening = Opening()
    for _ in range(3):
        opening.asked([1], unread=50, wait_s=0.34)
        opening.asked([1], unread=0, wait_s=0.30)

    def pays(tokens: int) -> bool:
        return opening.pays(Unread(tokens, 0.0, remaining=48), 1, plain_step_s=0.15, gain=1.5, other_gain=1.0)

    # 0.8 ms a token; 2.4 s are to be saved, and it has to be twice as much.
    assert pays(1400)
    assert not pays(1600)


def test_a_draft_that_read_slowly_once_is_read_with_on_trial_when_time_without_it_has_paid_for_that() -> None:
    opening = Opening()
    unread = Unread(100, 0.2, remaining=20)

    def pays() -> bool:
        return opening.pays(unread, 1, plain_step_s=0.1, gain=2.0, other_gain=1.0)

    opening.asked([1], unread=0, wait_s=0.1)
    opening.asked([2], unread=200, wait_s=4.1)
    assert not pays(), "100 tokens are believed to take 2 s"
    assert opening.would_pay(unread, 1, plain_step_s=0.1, other_gain=1.0), "a draft of which that is not known would"
    assert not opening.would_pay(Unread(100, 0.2, remaining=2), 1, plain_step_s=0.1, other_gain=1.0)

    for _ in range(399):
        opening.plain_step(1.0)
    assert not opening.affords([unread])
    opening.plain_step(2.0)
    assert opening.affords([unread]), "2 s are half a per cent of 401"
    assert not opening.affords([unread, unread])

    assert opening.asked([3], unread=100, wait_s=0.3, trial=True) == pytest.approx(0.2), "so long it did read"
    assert pays(), "one trial tells, whatever was believed"
    assert not opening.affords([Unread(1, 0.2, remaining=20)]), "the next one has to be paid for anew"


def test_each_load_has_a_gate_of_its_own() -> None:
    gates = DraftGates(FLAT)
    for _ in range(100):
        if gates.at(1).asks(1.0):
            gates.at(1).drafted_step(1.6, 1.0, answered=True)
        if gates.at(32).asks(1.0):
            gates.at(32).drafted_step(0.7, 1.0, answered=True)
    assert gates.at(1).asks(1.0)
    assert not gates.at(32).asks(1.0)
    assert not gates.at(40).asks(1.0), "32 and 40 are of one class"


def test_a_heavier_load_starts_no_more_hopeful_than_the_lighter_one() -> None:
    gates = DraftGates(FLAT)
    for _ in range(100):
        gates.at(2).drafted_step(1.2, 1.0, answered=True)
    assert gates.at(8).gain == pytest.approx(gates.at(2).gain)


def test_where_rows_are_dearer_under_load_a_draft_is_expected_to_earn_less_there() -> None:
    step_time = StepTime([(1, 0.15), (8, 0.155), (16, 0.165), (32, 0.19), (128, 0.40)])
    gates = DraftGates(step_time)
    for _ in range(100):
        gates.at(2).drafted_step(1.4, 1.0, answered=True)
    # Eight rows cost little more than two, and 32 than eight; 128 twice as much as 32.
    assert gates.at(2).gain > gates.at(8).gain > 1.1
    assert gates.at(32).gain == PROBE_GAIN
    assert DraftGates(step_time).at(32).gain == PROBE_GAIN, "no lighter load was seen before"


def test_a_node_costs_what_the_rows_of_trees_add_to_a_step() -> None:
    step_time = StepTime([(1, 0.10), (4, 0.13), (8, 0.13), (32, 0.37)], sequence_s=0.002)
    assert node_s(step_time, 1) == pytest.approx(0.01)
    assert node_s(step_time, 8) == pytest.approx(0.01), "what each further sequence adds is no node's"


def test_the_draft_is_told_to_grow_less_when_little_of_it_is_verified_and_more_again() -> None:
    budget = NodeBudget(most=32)
    assert budget.max_nodes == 32
    for _ in range(60):
        budget.selected(0)
    assert budget.max_nodes <= 6
    for _ in range(60):
        budget.selected(budget.max_nodes)
    assert budget.max_nodes == 32


def test_what_further_sequences_cost_is_told_from_what_further_tokens_cost() -> None:
    """In truth 26 ms and a quarter of one for each token, and 1.4 for each sequence."""
    step_time = StepTime([(1, 0.026), (32, 0.034)], sequence_s=0.0005)
    for round_ in range(600):
        sequences = (1, 8, 32)[round_ % 3]
        tokens = sequences * (1 + round_ % 2)
        step_time.observe(tokens, 0.026 + 0.00025 * tokens + 0.0014 * (sequences - 1), sequences)
    assert step_time.of(32, 32) == pytest.approx(0.026 + 0.008 + 0.0434, rel=0.1)
    assert step_time.of(64, 32) - step_time.of(32, 32) == pytest.approx(0.008, rel=0.5)
    assert step_time.of(1) == pytest.approx(0.026, rel=0.15)


def test_calibration_learns_what_a_belief_is_worth() -> None:
    calibration = Calibration()
    drafted, looked_up = (Proposal(source, -0.05, depth=1, rank=0) for source in (Source.DRAFT, Source.NGRAM))
    for index in range(1000):
        calibration.observe(drafted, index % 2 == 0)
        calibration.observe(looked_up, False)
    assert calibration.estimate(drafted) == pytest.approx(0.5, abs=0.05)
    assert calibration.estimate(looked_up) < 0.05


def test_a_sequence_starts_from_what_all_have_learnt_and_then_goes_its_own_way() -> None:
    everyone = Calibration()
    proposal = Proposal(Source.NGRAM, -1.0, depth=1, rank=0)
    for _ in range(300):
        everyone.observe(proposal, False)
    one = Calibration(everyone)
    assert one.estimate(proposal) == pytest.approx(everyone.estimate(proposal))
    for _ in range(20):
        one.observe(proposal, True)
    assert one.estimate(proposal) > 0.6
    assert everyone.estimate(proposal) < 0.3


def test_within_a_belief_rank_and_depth_are_told_apart() -> None:
    calibration = Calibration()
    near, deep = (Proposal(Source.DRAFT, -0.7, depth, rank=0) for depth in (1, 8))
    for _ in range(200):
        calibration.observe(near, True)
        calibration.observe(deep, False)
    assert calibration.estimate(near) > 0.9
    assert calibration.estimate(deep) < 0.1


known = st.builds(
    Proposal, st.sampled_from(Source), st.floats(-20, 0), depth=st.integers(1, 64), rank=st.integers(0, 31)
)


@given(st.lists(st.tuples(known, st.booleans()), max_size=200), known)
def test_an_estimate_is_a_probability(observed: list[tuple[Proposal, bool]], proposal: Proposal) -> None:
    calibration = Calibration(Calibration())
    for belief, accepted in observed:
        calibration.observe(belief, accepted)
    assert 0 <= calibration.estimate(proposal) <= 1
