"""Rules that hold under any load: bounds, one direction at a time, rest under a constant load, more for more."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outrider_operator.autoscaling.decide import decide
from outrider_operator.autoscaling.gate import FLIPS_PERIOD_S, MOST_FLIPS
from outrider_operator.autoscaling.history import History, RoleHistory
from outrider_operator.autoscaling.observation import Observation, Pods
from outrider_operator.autoscaling.policy import Behavior, Bounds, Rate, Rules
from unit.operator.autoscaling.world import ACCEPTED, POLICY, TICK_S, World, chat, directions, observation, signals

few = settings(max_examples=12, deadline=None)
accepted = st.sampled_from([ACCEPTED, (0.3, 0.1), (0.02,)])
# (requests/s, ticks, acceptance, whether the targets answer)
spans = st.lists(
    st.tuples(st.floats(0, 30), st.integers(1, 25), accepted, st.sampled_from([True, True, True, False])),
    min_size=1,
    max_size=6,
)
bounds = st.tuples(st.integers(1, 6), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def seen_as_it_is(seen: Observation) -> Observation:
    return seen


def unseen(seen: Observation) -> Observation:
    return replace(seen, signals=None)


def played(script: list[tuple[float, int, tuple[float, ...], bool]], world: World) -> World:
    for load, ticks, path, answers in script:
        world.accepted = path
        world.run(ticks * TICK_S, chat(load), seen_as_it_is if answers else unseen)
    return world


@few
@given(spans, bounds, st.integers(0, 3), st.integers(0, 20))
def test_never_outside_the_bounds(
    script: list[tuple[float, int, tuple[float, ...], bool]], targets: tuple[int, int], drafts: int, start: int
) -> None:
    policy = replace(POLICY, target=Bounds(*targets), draft=Bounds(drafts, 4), drafts_per_target=1.0)
    world = played(script, World(policy=policy, targets=[0.0] * max(1, start)))
    for _, _, decision in world.seen:
        assert targets[0] <= decision.target_replicas <= targets[1]
        assert drafts <= decision.draft_replicas <= 4


@few
@given(spans, st.sampled_from([60.0, 300.0]), st.sampled_from([0.0, 120.0]))
def test_never_both_directions_within_a_window(
    script: list[tuple[float, int, tuple[float, ...], bool]], down_s: float, up_s: float
) -> None:
    """Nothing is removed within the window for down after something was added; nor added within that for up after."""
    behavior = Behavior(Rules(up_s, Behavior().up.rates), Rules(down_s, Behavior().down.rates))
    world = played(script, World(policy=replace(POLICY, target=Bounds(1, 12, behavior)), targets=[0.0] * 3))
    counts = world.counts()
    changes = [
        (world.seen[index][0], after - before)
        for index, (before, after) in enumerate(itertools.pairwise(counts), start=1)
        if after != before
    ]
    for at_s, change in changes:
        for earlier_s, earlier in changes:
            if earlier_s < at_s and change * earlier < 0:
                assert at_s - earlier_s >= (down_s if change < 0 else up_s)


@pytest.mark.long
@settings(max_examples=6, deadline=None)
@given(st.floats(0, 20), st.integers(1, 12), st.sampled_from([ACCEPTED, (0.02,)]))
def test_under_a_constant_load_it_comes_to_rest(load: float, start: int, path: tuple[float, ...]) -> None:
    """Up and then down where it began with a queue or too many; in the last half hour nothing."""
    world = World(targets=[0.0] * start, accepted=path)
    world.run(2 * 3600.0, chat(load))
    assert len(set(world.counts(since_s=world.now_s - 1800))) == 1
    turns = directions(world.counts())
    assert sum(before != after for before, after in itertools.pairwise(turns)) <= 2


@few
@given(st.floats(0, 60), st.floats(0, 60), st.integers(1, 12))
def test_more_load_never_asks_for_fewer(one: float, other: float, ready: int) -> None:
    at_once = Behavior(Rules(0.0, (Rate("Percent", 900, 15.0),)), Rules(0.0, Behavior().down.rates))
    policy = replace(POLICY, target=Bounds(1, 40, at_once))
    history = History(0.0, target=RoleHistory(wanted=ready, ready=ready, ready_since_s=0.0))

    def asked(load: float) -> int:
        seen = replace(observation(signals(chat(load), pods=ready)), target=Pods(ready, ready))
        return decide(seen, policy, history, 1000.0)[0].target_replicas

    assert asked(min(one, other)) <= asked(max(one, other))


@pytest.mark.long
@few
@given(spans)
def test_targets_are_told_otherwise_at_most_four_times_in_any_hour(
    script: list[tuple[float, int, tuple[float, ...], bool]],
) -> None:
    world = played(script * 3, World())
    told = [(at_s, decision.speculate) for at_s, _, decision in world.seen]
    flips = [at_s for (_, before), (at_s, after) in itertools.pairwise(told) if before != after]
    for at_s in flips:
        assert sum(at_s <= other < at_s + FLIPS_PERIOD_S for other in flips) <= MOST_FLIPS


@pytest.mark.long
@few
@given(spans)
def test_what_is_remembered_does_not_grow(script: list[tuple[float, int, tuple[float, ...], bool]]) -> None:
    history = played(script * 2, World()).history
    assert len(history.demand) <= 600 / TICK_S + 1
    assert len(history.target.recommended) <= 300 / TICK_S + 1
    assert len(history.target.scaled) <= 1800 / TICK_S + 1
