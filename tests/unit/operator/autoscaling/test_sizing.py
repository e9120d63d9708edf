"""What target figures ask for, one observation at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from outrider_operator.autoscaling.decide import decide
from outrider_operator.autoscaling.decision import Decision
from outrider_operator.autoscaling.estimate import Load
from outrider_operator.autoscaling.history import Demand, History, RoleHistory, Starts
from outrider_operator.autoscaling.observation import Pods, Signals, StepTime
from outrider_operator.autoscaling.policy import Behavior, Bounds, Policy, Rules
from unit.operator.autoscaling.world import PACE, POLICY, chat, observation, signals

AT_ONCE = Behavior(down=Rules(0.0, Behavior().down.rates))
FREE = replace(POLICY, target=Bounds(1, 12, AT_ONCE))
# The same pods have been ready for long, and others would be at once: no room is planned for what may come meanwhile.
SETTLED = History(0.0, target=RoleHistory(wanted=4, ready=4, ready_since_s=0.0), starts=Starts(start_s=0.0))
NOW_S = 1000.0


def after(told: Signals, share: float = 1.0, since_s: float = 0.0) -> History:
    """What is remembered when the load of a minute ago was such a share of what is told now."""
    before = Load(told.requests_per_s, told.prompt_tokens_per_s, told.generated_tokens_per_s).times(share)
    role = replace(SETTLED.target, ready_since_s=since_s)
    return replace(SETTLED, target=role, demand=(Demand(NOW_S - 60.0, before),))


def decided(told: Signals, policy: Policy = FREE, pods: Pods | None = None, history: History | None = None) -> Decision:
    there = pods or Pods(4, 4)
    seen = replace(observation(told), target=there)
    return decide(seen, policy, history or after(told), NOW_S)[0]


def four(load: float = 8.0, **others: object) -> Signals:
    return signals(chat(load), pods=4, **others)


def test_within_the_goals_it_holds_and_says_where_it_stands() -> None:
    decision = decided(four(14.0))
    assert decision.target_replicas == 4
    why = decision.why("target")
    assert why is not None
    assert why.code == "WithinGoals"
    assert "of a goal of 80 %" in why.text
    assert "4 ready" in why.text


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("utilisation", four(22.0)),
        ("places", four(running=256.0)),
        ("KV", four(kv_usage=1.0)),
        ("TTFT", four(14.0, ttft_p95_s=2.6)),
        ("ITL", four(14.0, itl_p95_s=0.07)),
        ("those who wait", four(14.0, waiting=6000.0)),
        ("places, one of which was just left", four(14.0, running=0.95 * 256, waiting=30.0)),
    ],
)
def test_each_figure_alone_asks_for_more(what: str, told: Signals) -> None:
    decision = decided(told)
    assert decision.target_replicas > 4, what
    assert decision.usage is not None
    assert decision.usage > 1.1


def test_gaps_within_requests_are_not_taken_for_slow_requests() -> None:
    """One gap in twenty is long, as beside a prompt; the mean is as expected."""
    gaps = four(14.0, itl_p95_s=0.09)
    expected_s = replace(PACE, targets_per_draft=4.0).predict(chat(14.0).over(4)).itl_s
    assert decided(gaps).target_replicas > 4
    assert decided(replace(gaps, itl_mean_s=expected_s)).target_replicas == 4


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("utilisation", four(17.0)),
        ("places", four(14.0, running=0.95 * 256)),
        ("places that will be taken", four(14.0, running=0.92 * 256, waiting=8.0)),
        ("KV", four(14.0, kv_usage=0.95)),
        ("TTFT", four(14.0, ttft_p95_s=2.1)),
        ("ITL", four(14.0, itl_p95_s=0.053)),
    ],
)
def test_a_figure_within_the_tolerance_asks_for_nothing(what: str, told: Signals) -> None:
    decision = decided(told)
    assert decision.target_replicas == 4, what
    assert decision.usage is not None
    assert 1 < decision.usage < 1.1


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("places", four(2.0, running=0.7 * 256)),
        ("KV", four(2.0, kv_usage=0.7)),
        ("TTFT", four(2.0, ttft_p95_s=1.7)),
        ("ITL", four(2.0, itl_p95_s=0.042)),
    ],
)
def test_any_figure_near_its_goal_keeps_a_target(what: str, told: Signals) -> None:
    assert decided(told).target_replicas == 4, what


def test_with_all_figures_low_one_is_taken_away() -> None:
    assert decided(four(2.0)).target_replicas == 3


def test_latencies_measured_before_the_new_pods_were_ready_are_not_held_against_them() -> None:
    late = four(14.0, ttft_p95_s=8.0)
    assert decided(late).target_replicas > 4
    assert decided(late, history=after(late, since_s=NOW_S - 40.0)).target_replicas == 4


def test_what_the_ready_ones_do_is_believed_while_others_start() -> None:
    """A surge has one start after another; those that do not answer yet have no part in what was measured."""
    late = four(14.0, ttft_p95_s=8.0)
    assert decided(late, pods=Pods(5, 4, 1)).target_replicas > decided(four(14.0), pods=Pods(5, 4, 1)).target_replicas


def test_latencies_of_a_burst_are_not_taken_for_the_engine_s() -> None:
    """A minute ago half as much was asked: what waited in between says nothing of how four targets bear this load."""
    late = four(14.0, ttft_p95_s=8.0)
    assert decided(late, history=after(late, share=0.5)).target_replicas == 4


def test_bursts_that_come_again_are() -> None:
    """Two minutes of twenty times the latency, each after a lull: so it will be the next time."""
    late = four(14.0, ttft_p95_s=8.0)
    lull, burst = after(late, share=0.5).demand[0], Demand(NOW_S - 120.0, chat(14.0), pods=4, ttft_p95_s=8.0)
    again = replace(after(late), demand=(burst, replace(lull, pods=4)))
    assert decided(late, history=replace(again, demand=again.demand[1:])).target_replicas == 4
    assert decided(late, history=again).target_replicas > 4


def test_pods_that_start_count_as_idle_for_more() -> None:
    """3 ready and 2 starting are five for a load that needs five."""
    told = signals(chat(20.0), pods=3)
    assert decided(told, pods=Pods(5, 3, 2)).target_replicas == 5
    assert decided(signals(chat(30.0), pods=3), pods=Pods(5, 3, 2)).target_replicas > 5


def test_pods_that_start_count_as_full_for_fewer() -> None:
    """One target would do, and each of the two that start is taken for needed."""
    told = signals(chat(2.0), pods=3)
    assert decided(told, pods=Pods(4, 3, 1)).target_replicas == 3
    assert decided(told, pods=Pods(4, 1, 3)).target_replicas == 4


def test_targets_that_do_not_answer_count_as_full_for_fewer() -> None:
    assert decided(signals(chat(2.0), pods=1)).target_replicas == 4
    assert decided(signals(chat(2.0), pods=3)).target_replicas == 3


def test_stuck_pods_count_as_not_there() -> None:
    """Four are asked for, two have no node. What two can do is what there is, and what is not needed goes."""
    busy = decided(signals(chat(12.0), pods=2), pods=Pods(4, 2, 0, 2))
    why = busy.why("target")
    assert busy.target_replicas == 4
    assert why is not None
    assert why.code == "PodsStuck"
    assert decided(signals(chat(2.0), pods=2), pods=Pods(4, 2, 0, 2)).target_replicas == 3
    assert decided(signals(chat(30.0), pods=2), pods=Pods(4, 2, 0, 2)).target_replicas > 4


def test_a_goal_that_an_idle_target_misses_is_not_chased() -> None:
    """60 ms a step, 50 ms the goal: every target more costs and brings nothing."""
    slow = StepTime(((1, 0.06), (512, 0.14)), prefill_token_s=1 / 8000)
    told = four(4.0, step_time=slow, path_acceptance=(), itl_p95_s=0.065)
    decision = decided(told, replace(FREE, target=Bounds(4, 12)))
    why = decision.why("target")
    assert decision.target_replicas == 4
    assert why is not None
    assert "ITL" in why.text
    assert "not even an idle target" in why.text


def test_a_tight_goal_is_no_ratchet() -> None:
    """An idle target has 45 of 50 ms: 80 % of the goal is out of reach, and still an idle fleet shrinks."""
    tight = StepTime(((1, 0.045), (512, 0.055)), prefill_token_s=1 / 8000)
    told = four(0.2, step_time=tight, path_acceptance=())
    assert decided(told).target_replicas == 3


def test_what_was_measured_is_believed_up_to_twice_the_model() -> None:
    """The model needs one target. Latencies are four times what it says, with four, and would be with twelve."""
    decision = decided(four(2.0, ttft_p95_s=60.0))
    why = decision.why("target")
    assert decision.target_replicas == 4
    assert why is not None
    assert why.code == "BeyondModel"


def test_targets_that_do_not_say_how_many_sequences_they_run_are_judged_by_what_was_measured() -> None:
    assert decided(four(14.0, max_sequences=0, ttft_p95_s=3.0)).target_replicas == 6


def test_at_the_bound_it_says_so() -> None:
    decision = decided(signals(chat(90.0), pods=12), pods=Pods(12, 12))
    why = decision.why("target")
    assert decision.target_replicas == 12
    assert why is not None
    assert why.code == "AtMaximum"


def test_without_any_goal_utilisation_is_followed() -> None:
    policy = replace(FREE, ttft_p95_s=None, itl_p95_s=None)
    assert decided(four(22.0), policy).target_replicas > 4
    assert decided(four(2.0), policy).target_replicas == 3


class TestWithoutStepTimes:
    """Pods that do not tell how long their steps take are judged by what was measured alone, in proportion."""

    def test_more_for_latency(self) -> None:
        assert decided(four(14.0, step_time=None, ttft_p95_s=3.0)).target_replicas == 6

    def test_never_more_than_twice_as_many(self) -> None:
        assert decided(four(14.0, step_time=None, ttft_p95_s=60.0)).target_replicas == 8

    def test_more_for_a_queue(self) -> None:
        """42 waiting are three seconds of 14 a second, and two are the goal."""
        assert decided(four(14.0, step_time=None, waiting=42.0)).target_replicas == 6

    def test_fewer_only_where_the_rest_stays_well_within(self) -> None:
        assert decided(four(14.0, step_time=None, ttft_p95_s=1.1)).target_replicas == 3
        assert decided(four(14.0, step_time=None, ttft_p95_s=1.3)).target_replicas == 4


def test_the_physics_of_these_tests_are_as_their_numbers_assume() -> None:
    """One request a second is 0.197 of a target's most."""
    assert PACE.predict(chat(1.0)).utilisation == pytest.approx(0.197, abs=0.002)
