"""What speculation earns and costs over a few hundred requests, on machines of four kinds, in virtual time."""

from __future__ import annotations

import pytest
from outrider_serving.target import speculation
from outrider_serving.target.speculation import SpeculationPolicy
from support.machines import GPU, MATRIX_UNIT, NO_MATRIX_UNIT, VECTOR_UNIT
from support.pair import first_layers, random_llama
from support.virtual import Clock, Cost, Costly, Machine, Server, Traffic, gain, serve

MACHINES = pytest.mark.parametrize(
    "machine",
    [
        pytest.param(MATRIX_UNIT, id="matrix unit"),
        pytest.param(VECTOR_UNIT, id="vector unit", marks=pytest.mark.long),
        pytest.param(NO_MATRIX_UNIT, id="no matrix unit", marks=pytest.mark.long),
        pytest.param(GPU, id="GPU", marks=pytest.mark.long),
    ],
)
AGREES, USEFUL, GUESSES = 0.0, 0.2, 1.0


def traffic(streams: int, waves: int, distance: float, temperature: float = 0.0) -> Traffic:
    return Traffic(streams, streams * waves, 30, 24, distance, temperature)


@MACHINES
@pytest.mark.parametrize(
    ("streams", "temperature"),
    [(8, 0.0), *(pytest.param(*load, marks=pytest.mark.long) for load in ((8, 1.0), (1, 0.0), (4, 0.0)))],
)
def test_a_draft_that_guesses_costs_next_to_nothing(machine: Machine, streams: int, temperature: float) -> None:
    assert gain(machine, traffic(streams, 12 if streams > 1 else 40, GUESSES, temperature)) >= 0.97


@pytest.mark.long
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_useful_draft_is_used_where_rows_are_cheap(temperature: float) -> None:
    assert gain(MATRIX_UNIT, traffic(1, 24, USEFUL, temperature)) > 1.3
    assert gain(GPU, traffic(1, 24, USEFUL, temperature)) > 1.7


@pytest.mark.long
def test_under_load_a_draft_reads_short_prompts_for_short_answers_where_that_pays() -> None:
    """Eight prompts that are read together take as long as they all, not each."""
    assert gain(GPU, traffic(8, 6, AGREES)) > 1.7
    assert gain(GPU, traffic(8, 6, USEFUL)) > 1.1


def pair_whose_draft_is_slow(slower: float) -> tuple[Server, Costly]:
    """Two streams with short answers, whose draft had its speed first and is so many times slower now."""
    assert GPU.draft is not None
    clock = Clock()
    model = random_llama(4, USEFUL)
    draft = Costly(first_layers(model, 1), GPU.draft, clock)
    server = Server(clock, Costly(model, GPU.target, clock), draft, SpeculationPolicy())
    load = traffic(2, 4, USEFUL).asked()
    assert server.serve(load, 2).asked_steps > 0
    draft.take(draft.cost.times(slower))
    server.serve(load, 2)
    return server, draft


@pytest.mark.long
def test_a_draft_that_was_slow_for_a_moment_is_asked_again_though_answers_are_short() -> None:
    server, draft = pair_whose_draft_is_slow(10)
    draft.take(draft.cost.times(0.1))
    first, later = (server.serve(traffic(2, waves, USEFUL).asked(), 2) for waves in (8, 16))
    assert first.asked_steps == 0, "reading is believed to take ten times as long"
    assert later.asked_steps > 0


@pytest.mark.long
def test_a_draft_that_stays_slow_costs_next_to_nothing_for_being_tried() -> None:
    server, _ = pair_whose_draft_is_slow(10)
    load = traffic(2, 24, USEFUL)
    served = server.serve(load.asked(), 2)
    assert served.asked_steps > 0
    assert served.elapsed_s <= serve(GPU, load, SpeculationPolicy(mode="Off")).elapsed_s / 0.98


@pytest.mark.long
def test_a_draft_that_is_told_what_its_nodes_cost_to_verify_grows_those_that_pay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = Traffic(8, 16, 24, 48, distance=0.1)
    told = gain(GPU, load)
    monkeypatch.setattr(speculation, "node_s", lambda *_: 0.0)
    assert told > 1.05 * gain(GPU, load)


@pytest.mark.long
def test_ngrams_that_are_seldom_right_cost_nothing_beside_prompts_that_are_read() -> None:
    """Steps are long there, but what an accepted token saves is a plain one's share."""
    each_row_costs = Machine(Cost(((1, 0.023), (4096, 12.308))), draft=None)
    assert gain(each_row_costs, Traffic(8, 24, 300, 48, GUESSES, temperature=1.0, vocabulary=6)) >= 0.99


@pytest.mark.long
@MACHINES
def test_a_surge_in_which_a_trial_would_cost_much_is_served_without(machine: Machine) -> None:
    """Thirty-two at once, as the first load of all: what a trial would cost there is known before it is made."""
    surge = traffic(32, 2, GUESSES)
    assert gain(machine, surge) >= 0.97
    assert serve(machine, surge, SpeculationPolicy()).asked_steps == 0
