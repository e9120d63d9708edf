"""HPA and KPA against what their own documentation and source say."""

from __future__ import annotations

import pytest
from outrider_operator.autoscaling.decision import Decision
from outrider_operator.autoscaling.observation import Observation, Pods
from outrider_operator.autoscaling.policy import Behavior, Bounds
from outrider_operator.autoscaling.replay.hpa import Hpa, desired_replicas
from outrider_operator.autoscaling.replay.kpa import Kpa
from outrider_operator.autoscaling.replay.policies import Fixed
from outrider_operator.autoscaling.replay.sight import Sight

BEHAVIOR = Behavior()


def sight(targets: int, *loads: float, ready: int | None = None, in_flight: float = 0.0) -> Sight:
    """So many targets are wanted. loads: of those that have metrics."""
    there = len(loads) if ready is None else ready
    target = Pods(wanted=targets, ready=there, starting=targets - there)

    def observe() -> Observation:
        raise AssertionError("looks at what its users do not have")

    return Sight(target, target, True, tuple(loads), in_flight, observe)


def asked(current: int, loads: list[float], goal: float = 100.0, silent: int = 0, pending: int = 0) -> int:
    return desired_replicas(current, loads, silent, pending, goal, BEHAVIOR)


# Kubernetes: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details


def test_twice_the_goal_is_twice_the_pods_and_half_of_it_half() -> None:
    assert asked(1, [200.0]) == 2
    assert asked(2, [50.0, 50.0]) == 1
    assert asked(3, [150.0, 150.0, 150.0]) == 5, "rounded up"


@pytest.mark.parametrize(("load", "pods"), [(91.0, 4), (109.0, 4), (111.0, 5), (74.0, 3)])
def test_within_a_tenth_nothing_is_done(load: float, pods: int) -> None:
    assert asked(4, [load] * 4) == pods


def test_a_pod_without_metrics_counts_as_idle_when_the_others_want_more() -> None:
    assert asked(4, [200.0, 200.0], silent=2) == 4, "what starts will take its part"
    assert asked(3, [200.0, 200.0], silent=1) == 4
    assert asked(3, [200.0, 200.0], pending=1) == 4


def test_a_pod_without_metrics_counts_as_at_its_goal_when_the_others_want_less() -> None:
    assert asked(4, [50.0, 50.0], silent=2) == 3
    assert asked(4, [50.0, 50.0], pending=2) == 1, "one that does not run is not asked for less"


def test_pods_without_metrics_never_turn_the_direction() -> None:
    assert asked(10, [120.0], silent=9) == 10
    assert asked(2, []) == 2


def played(hpa: Hpa, *sights: Sight) -> list[Decision]:
    return [hpa.decide(each, 15.0 * (index + 1)) for index, each in enumerate(sights)]


def test_it_at_most_doubles_or_adds_four_in_fifteen_seconds() -> None:
    one, ten = Hpa(10.0, Bounds(1, 100)), Hpa(10.0, Bounds(1, 100))
    assert played(one, sight(1, 1000.0))[0].target_replicas == 5
    assert played(ten, sight(10, *[1000.0] * 10))[0].target_replicas == 20


def test_it_goes_down_to_the_most_that_was_wanted_in_five_minutes() -> None:
    hpa = Hpa(10.0, Bounds(1, 100))
    first = hpa.decide(sight(4, *[10.0] * 4), 15.0)
    assert first.target_replicas == 4
    for tick in range(2, 21):
        assert hpa.decide(sight(4, *[2.0] * 4), 15.0 * tick).target_replicas == 4
    assert hpa.decide(sight(4, *[2.0] * 4), 15.0 * 21).target_replicas == 1


def test_what_it_finds_is_its_first_recommendation() -> None:
    hpa = Hpa(10.0, Bounds(1, 100))
    for tick in range(1, 21):
        assert hpa.decide(sight(4, *[0.0] * 4), 15.0 * tick).target_replicas == 4
    assert hpa.decide(sight(4, *[0.0] * 4), 15.0 * 21).target_replicas == 1


def test_a_draft_goes_with_each_target_and_bounds_are_kept() -> None:
    decision = Hpa(10.0, Bounds(1, 3)).decide(sight(2, 100.0, 100.0), 15.0)
    assert (decision.target_replicas, decision.draft_replicas, decision.speculate) == (3, 3, True)
    decision = Fixed(5).decide(sight(5, ready=5), 15.0)
    assert (decision.target_replicas, decision.draft_replicas, decision.speculate) == (5, 5, True)


# Knative: docs/serving/autoscaling, and pkg/autoscaler/scaling/autoscaler.go


class Knative:
    """A revision whose pods are there as soon as they are asked for, or not."""

    def __init__(self, goal: float = 10.0, ready: int = 1) -> None:
        self.kpa = Kpa(goal, 1, 100)
        self.ready = ready
        self.now_s = 0.0

    def under(self, in_flight: float, seconds: float, follow: bool = False) -> list[int]:
        """What it wants while so many requests are in flight."""
        wanted = []
        for _ in range(round(seconds / 2)):
            self.now_s += 2
            decision = self.kpa.decide(sight(self.ready, ready=self.ready, in_flight=in_flight), self.now_s)
            wanted.append(decision.target_replicas)
            if follow:
                self.ready = decision.target_replicas
        return wanted


def test_it_is_the_mean_of_a_minute_over_the_goal() -> None:
    knative = Knative()
    assert set(knative.under(15.0, 60)) == {2}
    assert knative.under(19.0, 60)[-1] == 2


def test_a_surge_of_twice_the_ready_pods_is_panic_and_is_followed_at_once() -> None:
    knative = Knative()
    knative.under(10.0, 60)
    assert knative.under(40.0, 6)[-1] == 4
    assert knative.under(10.0, 30) == [4] * 15, "in panic it does not go down"


def test_less_than_twice_is_no_panic() -> None:
    knative = Knative(ready=2)
    knative.under(20.0, 130)
    assert knative.under(30.0, 6)[-1] == 3, "27 over the minute's windows is a third pod, not yet the panic's"
    assert knative.under(20.0, 120)[-1] == 2


def test_panic_ends_a_minute_after_its_last_cause() -> None:
    knative = Knative()
    knative.under(10.0, 60)
    knative.under(40.0, 6, follow=True)
    wanted = knative.under(5.0, 90, follow=True)
    assert wanted[:25] == [4] * 25
    assert wanted[-1] == 1


def test_it_at_most_halves() -> None:
    knative = Knative(ready=16)
    knative.under(160.0, 130)
    assert knative.under(0.0, 130)[-1] == 8


def test_it_begins_in_panic_and_so_does_not_go_down_on_a_window_that_is_empty() -> None:
    assert Knative(ready=4).under(1.0, 60) == [4] * 30
    assert Knative(ready=1).under(1.0, 60) == [1] * 30
