"""`behavior` does what the documentation of autoscaling/v2 says, by its own examples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outrider_operator.autoscaling.behavior import bounded, rate_limited, stabilized, tolerated
from outrider_operator.autoscaling.history import Recommended, Scaled
from outrider_operator.autoscaling.policy import Behavior, Bounds, Rate, Rules

FREE_DOWN = Rules(0.0, (Rate("Percent", 100, 15.0),))
FREE_UP = Rules(0.0, (Rate("Percent", 900, 15.0),))


def path(start: int, desired: int, behavior: Behavior, tick_s: float, ticks: int) -> list[int]:
    """What becomes of `start` replicas when `desired` are wanted at each tick."""
    replicas = [start]
    scaled: list[Scaled] = []
    for tick in range(ticks):
        now_s = tick * tick_s
        then = rate_limited(desired, replicas[-1], scaled, behavior, now_s)
        if then != replicas[-1]:
            scaled.append(Scaled(now_s, then - replicas[-1]))
        replicas.append(then)
    return replicas


def down(*rates: Rate, select: str = "Max") -> Behavior:
    return Behavior(FREE_UP, Rules(0.0, rates, select))  # type: ignore[arg-type]


def up(*rates: Rate, select: str = "Max") -> Behavior:
    return Behavior(Rules(0.0, rates, select), FREE_DOWN)  # type: ignore[arg-type]


FOUR = Rate("Pods", 4, 60.0)
TENTH = Rate("Percent", 10, 60.0)


@pytest.mark.parametrize(
    ("what", "start", "desired", "behavior", "tick_s", "expected"),
    [
        # "If there are 80 replicas and the target has to be scaled down to 10, during the first step 8 replicas will be
        # reduced. In the next iteration, when there are 72, 10 % of the pods is 7.2 but the number is rounded up to 8."
        ("ten per cent a minute", 80, 10, down(FOUR, TENTH), 60.0, [80, 72, 64, 57]),
        # "When the number of replicas falls below 40 the first policy is applied and 4 will be reduced at a time."
        ("then four a minute", 38, 10, down(FOUR, TENTH), 60.0, [38, 34, 30, 26, 22, 18, 14, 10, 10]),
        # "With Min the autoscaler chooses the policy that affects the smallest number of Pods."
        ("the smaller of both", 100, 10, down(Rate("Pods", 5, 60.0), TENTH, select="Min"), 60.0, [100, 95, 90, 85]),
        ("the smaller of both, few", 20, 10, down(Rate("Pods", 5, 60.0), TENTH, select="Min"), 60.0, [20, 18, 16, 14]),
        # "The value of Disabled turns off scaling in the given direction."
        ("never down", 80, 10, down(TENTH, select="Disabled"), 60.0, [80, 80, 80]),
        ("never up", 8, 80, up(Rate("Percent", 900, 60.0), select="Disabled"), 60.0, [8, 8]),
        # The defaults: all at once down; up twice as many or 4 more, whichever is more, every 15 s.
        ("default down", 80, 10, Behavior(), 15.0, [80, 10]),
        ("default up", 1, 100, Behavior(), 15.0, [1, 5, 10, 20, 40, 80, 100]),
        # KEP-853, "scale up as fast as possible": 900 % a minute is 1 -> 10 -> 100 -> 1000.
        ("as fast as possible", 1, 5000, up(Rate("Percent", 900, 60.0)), 60.0, [1, 10, 100, 1000, 5000]),
        # KEP-853, "scale up very gradually": one pod in five minutes, looked at every minute.
        ("gradually", 1, 9, up(Rate("Pods", 1, 300.0)), 60.0, [1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4]),
        # What was changed counts for the whole period, so several looks in one period add up to no more.
        ("within one period", 10, 30, up(FOUR), 15.0, [10, 14, 14, 14, 14, 18]),
        # A percentage is of what there was when the period began, and rounded so that it changes something.
        ("a tenth of three, up", 3, 9, up(TENTH), 60.0, [3, 4, 5, 6, 7]),
        ("a tenth of three, down", 3, 1, down(TENTH), 60.0, [3, 2, 1]),
        # Of nothing it is nothing: the first comes all the same, and the rate holds for what follows within the period.
        ("a tenth of none", 0, 3, up(TENTH), 60.0, [0, 1, 2, 3]),
        ("twice as many as none", 0, 9, up(Rate("Percent", 100, 15.0)), 15.0, [0, 1, 2, 4, 8, 9]),
        ("the smaller of both from none", 0, 9, up(FOUR, TENTH, select="Min"), 60.0, [0, 1, 2, 3]),
        ("none within the period", 0, 9, up(TENTH), 15.0, [0, 1, 1, 1, 1, 2]),
        ("never up from none", 0, 9, up(TENTH, select="Disabled"), 60.0, [0, 0, 0]),
    ],
)
def test_the_documented_examples(
    what: str, start: int, desired: int, behavior: Behavior, tick_s: float, expected: list[int]
) -> None:
    assert path(start, desired, behavior, tick_s, len(expected) - 1) == expected, what


def test_pods_removed_within_the_period_may_be_added_again_on_top_of_the_rate() -> None:
    """The period began with 14: from there 4 more are allowed, whatever happened in between."""
    assert rate_limited(30, 10, [Scaled(10.0, -4)], up(FOUR), now_s=30.0) == 18


def test_a_rate_already_spent_holds_and_never_turns_the_change_around() -> None:
    """Eight were added by hand where the rate allows four: none is added, and none taken away either."""
    assert rate_limited(30, 18, [Scaled(10.0, 8)], up(FOUR), now_s=30.0) == 18
    assert rate_limited(1, 10, [Scaled(10.0, -8)], down(FOUR), now_s=30.0) == 10


def recommended(*replicas: int) -> list[Recommended]:
    """One a minute, the last a minute ago, now being 1000 s."""
    return [Recommended(1000.0 - 60 * age, count) for age, count in enumerate(reversed(replicas), start=1)]


WINDOWS = Behavior(Rules(150.0, FREE_UP.rates), Rules(300.0, FREE_DOWN.rates))


@pytest.mark.parametrize(
    ("what", "desired", "current", "past", "expected"),
    [
        # "All desired states of the past 5 minutes are considered, and the highest is taken."
        ("down to the highest of the window", 2, 9, (3, 7, 4, 5), 7),
        ("what is older does not count", 2, 9, (8, 3, 3, 3, 3), 3),
        ("exactly as old as the window does not count either", 2, 9, (6, 2, 2, 2, 2), 2),
        ("up to the lowest of its own, shorter window", 9, 2, (2, 2, 6, 7), 6),
        ("one low look within the window is enough to stay", 9, 4, (9, 9, 4), 4),
        ("up, then down: it stays", 3, 5, (4, 5, 6), 5),
    ],
)
def test_recommendations_are_stabilized(
    what: str, desired: int, current: int, past: tuple[int, ...], expected: int
) -> None:
    assert stabilized(desired, current, recommended(*past), WINDOWS, 1000.0) == expected, what


def test_without_a_window_the_recommendation_is_taken_as_it_is() -> None:
    assert stabilized(9, 2, recommended(1, 1), Behavior(FREE_UP, FREE_DOWN), 1000.0) == 9
    assert stabilized(1, 5, recommended(9, 9), Behavior(FREE_UP, FREE_DOWN), 1000.0) == 1


def test_each_direction_has_its_own_tolerance() -> None:
    behavior = Behavior(Rules(0.0, FREE_UP.rates, tolerance=0.05), Rules(0.0, FREE_DOWN.rates, tolerance=0.3))
    assert [tolerated(usage, behavior) for usage in (0.69, 0.71, 1.0, 1.04, 1.06)] == [False, True, True, True, False]


rates = st.lists(
    st.builds(
        Rate, st.sampled_from(["Pods", "Percent"]), st.integers(1, 200), st.sampled_from([15.0, 60.0, 300.0, 1800.0])
    ),
    min_size=1,
    max_size=3,
).map(tuple)
rules = st.builds(Rules, st.sampled_from([0.0, 60.0, 300.0]), rates, st.sampled_from(["Max", "Min", "Disabled"]))
behaviors = st.builds(Behavior, rules, rules)
changes = st.lists(st.builds(Scaled, st.floats(0, 1000), st.integers(-5, 5)), max_size=6)


@given(st.integers(0, 100), st.integers(0, 100), behaviors, changes)
def test_rates_never_overshoot_and_never_turn_around(
    desired: int, current: int, behavior: Behavior, scaled: list[Scaled]
) -> None:
    assert min(desired, current) <= rate_limited(desired, current, scaled, behavior, 1000.0) <= max(desired, current)


@given(st.integers(0, 100), st.integers(0, 100), st.lists(st.integers(0, 100), max_size=6), behaviors)
def test_stabilized_never_overshoots(desired: int, current: int, past: list[int], behavior: Behavior) -> None:
    found = stabilized(desired, current, recommended(*past), behavior, 1000.0)
    assert min(desired, current) <= found <= max(desired, current)


def test_bounds_hold() -> None:
    assert [bounded(count, Bounds(2, 5)) for count in (0, 2, 4, 9)] == [2, 2, 4, 5]
