"""What users of other autoscalers complain of, played through in a fleet whose pods do what the estimate says."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from outrider_operator.autoscaling.decide import decide
from outrider_operator.autoscaling.history import History
from outrider_operator.autoscaling.observation import Observation, Pods
from outrider_operator.autoscaling.policy import SCALE_UP, Behavior, Bounds, Rate, Rules
from unit.operator.autoscaling.world import PACE, POLICY, TICK_S, World, chat, directions, observation, signals

WINDOW_S = POLICY.target.behavior.down.stabilization_s
HOUR_S = 3600.0


def fleet(targets: int, **others: object) -> World:
    return World(targets=[0.0] * targets, **others)  # type: ignore[arg-type]


def needed(requests_per_s: float) -> int:
    """Targets that keep utilisation at its goal, by the figures of the estimate. Of a lasting load twice as much has to
    fit: it may come before the next pod is ready.
    """
    return math.ceil(PACE.predict(chat(requests_per_s)).utilisation / 0.8)


def blind(seen: Observation) -> Observation:
    return replace(seen, signals=None)


@pytest.mark.long
def test_load_at_the_threshold_does_not_make_it_thrash() -> None:
    """Two targets are enough for 4.25 requests/s and not for 4.75; it is now the one, now the other, for two hours."""
    world = fleet(2)
    for _ in range(60):
        world.run(60, chat(4.25))
        world.run(60, chat(4.75))
    assert len(directions(world.counts())) <= 1


def test_under_a_load_that_comes_and_goes_within_the_window_pods_stay() -> None:
    world = fleet(6)
    for _ in range(10):
        world.run(180, chat(4))
        world.run(120, chat(16))
    assert set(world.counts()) == {6}


@pytest.mark.long
def test_pods_pending_for_ever_do_not_freeze_scale_down() -> None:
    world = fleet(2, nodes=3)
    world.run(HOUR_S, chat(9))
    assert world.observe(chat(9)).target.stuck >= 1
    world.run(HOUR_S, chat(1))
    assert world.counts()[-1] == 1


def test_after_a_restart_nothing_is_removed_before_a_full_window_was_seen() -> None:
    world = fleet(8)
    world.run(30, chat(8))
    world.restart()
    began_s = world.now_s
    world.run(WINDOW_S - TICK_S, chat(1))
    assert set(world.counts(since_s=began_s)) == {8}
    assert "Watching" in world.reasons("target", since_s=began_s)
    world.run(120, chat(1))
    assert world.counts()[-1] < 8


def test_a_restart_in_the_middle_of_a_surge_delays_no_scale_up() -> None:
    world = fleet(2)
    world.run(300, chat(3))
    world.restart()
    first, second = world.run(2 * TICK_S, chat(20))
    assert first.target_replicas > 2
    assert second.target_replicas >= needed(20)


def test_a_restart_does_not_make_one_look_count_as_a_whole_window_for_up() -> None:
    """Five minutes have to agree, and the new process has seen fifteen seconds of a burst."""
    patient = Behavior(up=replace(SCALE_UP, stabilization_s=300.0))
    world = fleet(4, policy=replace(POLICY, target=Bounds(1, 12, patient)))
    world.run(600, chat(4))
    before = world.counts()[-1]
    world.restart()
    began_s = world.now_s
    world.run(300, chat(20))
    assert set(world.counts(since_s=began_s)) == {before}
    assert world.reasons("target", began_s) == {"Stabilizing"}
    assert world.run(TICK_S, chat(20))[-1].target_replicas > before


def test_a_change_counts_for_the_rates_from_when_it_was_done() -> None:
    """One pod in ten minutes; the server refuses for that long, and then there are not two at once."""
    slow = Behavior(up=Rules(0.0, (Rate("Pods", 1, 600.0),)))
    policy = replace(POLICY, target=Bounds(1, 12, slow), draft=None)
    history, wanted, done = History(0.0), 2, []
    for tick in range(90):
        now_s = tick * TICK_S
        told = replace(observation(signals(chat(20), wanted), drafts=0), target=Pods(wanted, wanted))
        decision, history = decide(told, policy, history, now_s)
        if now_s >= 600.0 and decision.target_replicas != wanted:
            wanted = decision.target_replicas
            done.append((now_s, wanted))
    assert done == [(600.0, 3), (1200.0, 4)]


def test_a_metrics_outage_is_not_idleness() -> None:
    world = fleet(6)
    world.run(600, chat(10))
    before = world.counts()[-1]
    began_s = world.now_s
    world.run(1800, chat(10), blind)
    assert set(world.counts(since_s=began_s)) == {before}
    assert world.reasons("target", began_s) == world.reasons("draft", began_s) == {"NoMetrics"}
    assert world.reasons("speculation", began_s) == {"NoMetrics"}


def test_after_an_outage_nothing_is_removed_before_a_full_window_was_seen() -> None:
    """All that was recommended is too old by then: the first sight of a lull would count alone."""
    world = fleet(8)
    world.run(600, chat(12.5))
    before = world.counts()[-1]
    world.run(900, chat(12.5), blind)
    began_s = world.now_s
    world.run(WINDOW_S - TICK_S, chat(1))
    assert set(world.counts(since_s=began_s)) == {before}
    world.run(120, chat(1))
    assert world.counts()[-1] < before


def test_one_reading_that_failed_is_no_outage() -> None:
    world = fleet(8)
    world.run(WINDOW_S / 2, chat(1))
    world.run(TICK_S, chat(1), blind)
    world.run(WINDOW_S / 2 + TICK_S, chat(1))
    assert world.counts()[-1] < 8


def test_a_surge_is_answered_once_and_nothing_stacks_on_pods_that_load() -> None:
    world = fleet(2)
    world.run(600, chat(3))
    began_s = world.now_s
    world.run(world.start_s, chat(18))
    counts = world.counts(since_s=began_s)
    assert counts[0] >= needed(18)
    assert len(directions([2, *counts])) == 1
    assert "PodsStarting" in world.reasons("target", began_s) or "WithinGoals" in world.reasons("target", began_s)


def test_a_surge_is_answered_by_what_it_needs_and_not_pod_by_pod() -> None:
    world = fleet(2)
    world.run(240, chat(1))
    assert world.run(TICK_S, chat(22))[-1].target_replicas >= needed(22) > 2


def test_pods_are_taken_away_one_by_one_and_each_one_s_effect_is_awaited() -> None:
    world = fleet(8)
    world.run(HOUR_S, chat(1))
    steps = [
        (at_s, before[2].target_replicas - decision.target_replicas)
        for before, (at_s, _, decision) in zip(world.seen, world.seen[1:], strict=False)
        if decision.target_replicas != before[2].target_replicas
    ]
    assert {step for _, step in steps} == {1}
    assert all(later - at_s >= 60 for (at_s, _), (later, _) in itertools.pairwise(steps))
    assert world.counts()[-1] == 1


def test_a_pod_is_kept_if_the_rest_would_come_near_to_the_goal() -> None:
    """3.95 requests/s: two targets would keep every goal, but at more than 0.72 of their most."""
    world = fleet(3)
    world.run(HOUR_S, chat(3.95))
    assert set(world.counts()) == {3}
    assert needed(2 * 3.95) == 2


def test_an_hpa_beside_is_left_alone() -> None:
    world = fleet(3)
    beside = {"target": "HorizontalPodAutoscaler chat"}
    world.run(900, chat(12.5), lambda seen: replace(seen, others=beside))
    assert set(world.counts()) == {3}
    assert world.reasons("target") == {"ScaledByOthers"}
    assert "HorizontalPodAutoscaler chat" in world.seen[-1][2].reasons[0].text
    # The other role is still ours.
    assert "ScaledByOthers" not in world.reasons("draft")


def test_when_the_hpa_is_gone_it_goes_on_at_once() -> None:
    world = fleet(3)
    world.run(900, chat(12.5), lambda seen: replace(seen, others={"target": "HorizontalPodAutoscaler chat"}))
    assert world.run(TICK_S, chat(12.5))[-1].target_replicas >= needed(2 * 12.5)


def test_a_ramp_is_followed_before_it_is_there() -> None:
    """From 2 to 12 requests/s in 25 minutes, with pods that take three: none is ever asked for too much."""
    world = fleet(2)
    world.run(300, chat(2))
    for step in range(100):
        world.run(TICK_S, chat(2 + step / 10))
    assert all(
        PACE.predict(chat(seen.signals.requests_per_s).over(seen.target.ready)).utilisation < 1
        for _, seen, _ in world.seen
        if seen.signals is not None
    )


def test_scaled_to_zero_by_hand_it_stays_there() -> None:
    world = World(targets=[])
    world.run(300, chat(0), blind)
    assert set(world.counts()) == {0}
    assert world.reasons("target") == {"ScalingDisabled"}


def test_scaled_to_zero_by_hand_it_stays_there_also_where_the_bounds_are_one() -> None:
    world = World(targets=[], policy=replace(POLICY, target=Bounds(2, 2)))
    world.run(300, chat(0), blind)
    assert set(world.counts()) == {0}
    assert world.reasons("target") == {"ScalingDisabled"}


def test_outside_its_bounds_it_goes_there_at_once_even_blind() -> None:
    assert fleet(20).run(TICK_S, chat(1), blind)[0].target_replicas == POLICY.target.most
    low = replace(POLICY, target=Bounds(3, 12))
    assert fleet(1, policy=low).run(TICK_S, chat(1), blind)[0].target_replicas == 3


def test_a_role_without_bounds_of_its_own_is_held() -> None:
    world = fleet(2, policy=replace(POLICY, target=Bounds(2, 2)))
    world.run(600, chat(15))
    assert set(world.counts()) == {2}


@pytest.mark.parametrize("load", [0.0, 1.0, 4.0, 15.0, 45.0])
def test_every_decision_says_why_in_a_sentence(load: float) -> None:
    world = fleet(2)
    world.run(1200, chat(load))
    for _, _, decision in world.seen:
        assert [reason.role for reason in decision.reasons] == ["target", "draft", "speculation"]
        for reason in decision.reasons:
            assert reason.code.isalpha()
            assert reason.code[0].isupper()
            assert reason.text[0].isupper() or reason.text[0].isdigit()
            assert reason.text.endswith(".")
            assert "inf" not in reason.text
