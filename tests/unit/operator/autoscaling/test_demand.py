"""What is asked: now, in a while, lately."""

from __future__ import annotations

from dataclasses import replace

import pytest
from outrider_operator.autoscaling.demand import (
    LASTING_S,
    MOST_UNSERVED,
    SLOW_START_S,
    comparable,
    lateness,
    likely,
    queued,
    sampled,
    soon,
    with_backlog,
)
from outrider_operator.autoscaling.estimate import Load
from outrider_operator.autoscaling.history import Demand
from unit.operator.autoscaling.world import CHAT, PACE, TICK_S, chat, signals


def asked(*requests: float, every_s: float = 60.0) -> tuple[Demand, ...]:
    return tuple(Demand(index * every_s, chat(rate)) for index, rate in enumerate(requests))


def test_a_rise_is_taken_to_go_on_half_as_steeply() -> None:
    """1, 2, 3 requests/s in three minutes: 4.5 in three more."""
    assert soon(asked(1, 2, 3), ahead_s=180.0, apart_s=60.0).requests == pytest.approx(4.5)


def test_of_two_rises_the_smaller_counts() -> None:
    assert soon(asked(1, 1.5, 3), ahead_s=180.0, apart_s=60.0).requests == pytest.approx(3 + 3 * 0.25)


@pytest.mark.parametrize("rates", [(1.0, 1.0, 9.0), (1.0, 9.0, 9.0), (9.0, 5.0, 1.0), (1.0, 9.0, 5.0)])
def test_a_jump_and_a_fall_are_no_slope(rates: tuple[float, ...]) -> None:
    assert soon(asked(*rates), ahead_s=180.0, apart_s=60.0) == chat(rates[-1])


def test_nothing_is_foreseen_from_too_short_a_past_or_across_a_gap() -> None:
    assert soon(asked(1, 2), ahead_s=180.0, apart_s=60.0) == chat(2)
    with_gap = (Demand(0.0, chat(1)), Demand(100.0, chat(2)), Demand(300.0, chat(3)))
    assert soon(with_gap, ahead_s=180.0, apart_s=60.0) == chat(3)


def test_what_is_older_is_forgotten() -> None:
    samples: tuple[Demand, ...] = ()
    for tick in range(int(2 * LASTING_S / TICK_S)):
        samples = sampled(samples, signals(chat(1)), tick * TICK_S)
    assert len(samples) == LASTING_S / TICK_S


def test_while_requests_wait_arrivals_tell_what_is_asked_and_not_what_is_served() -> None:
    usual = asked(1, 1)
    served = Load(3.0, 1500.0, 300.0)
    swamped = signals(served, pods=2, waiting=30.0)
    found = sampled(usual, swamped, 120.0)[-1].load
    assert found.requests == 3.0
    assert found.prompt_tokens == pytest.approx(3 * CHAT.prompt_tokens)
    assert found.generated_tokens == pytest.approx(3 * CHAT.generated_tokens)


def test_without_a_queue_what_is_measured_is_what_is_asked() -> None:
    served = Load(3.0, 1500.0, 300.0)
    assert sampled(asked(1, 1), signals(served, waiting=1.0), 120.0)[-1].load == served


def test_a_queue_that_is_gone_before_a_pod_could_help_asks_for_none() -> None:
    """5 waiting, 2/s come and 3/s are done: gone in 5 s."""
    assert with_backlog(chat(2), queue=5, capacity=3, start_s=180) == chat(2)


def test_what_still_waits_when_a_pod_could_help_is_asked_for_on_top() -> None:
    """60 waiting and 1/s more than is done: 240 after three minutes, to be done in five."""
    assert with_backlog(chat(2), queue=60, capacity=1, start_s=180).requests == pytest.approx(2 + 240 / 300)


def test_after_a_restart_in_a_surge_what_is_served_is_told_by_how_the_queue_grows() -> None:
    """3 come each second and the queue grows by 2: the tokens are those of one."""
    served = Load(3.0, CHAT.prompt_tokens, CHAT.generated_tokens)
    first = sampled((), signals(served, waiting=100.0), 0.0)
    found = sampled(first, signals(served, waiting=130.0), 15.0)[-1].load
    assert found.prompt_tokens == pytest.approx(3 * CHAT.prompt_tokens)


def test_what_requests_usually_bring_is_not_told_by_one_beside_long_answers() -> None:
    """150 tokens/s of answers that began long ago, one arrival in ten minutes; then two short questions a second."""
    past = tuple(Demand(60.0 * minute, Load(1 / 60 if minute == 5 else 0.0, 0.0, 150.0)) for minute in range(10))
    swamped = signals(Load(2.0, 400.0, 266.0), pods=1, waiting=20.0)
    found = sampled(past, swamped, 600.0)[-1].load
    assert found.requests == 2.0
    assert 266.0 <= found.generated_tokens <= MOST_UNSERVED * 266.0
    enough = tuple(replace(each, load=replace(each.load, requests=2 / 60)) for each in past)
    assert sampled(enough, swamped, 600.0)[-1].load.generated_tokens == pytest.approx(2.0 * 30 * 150)


def test_while_a_queue_is_worked_off_its_tokens_are_not_asked_anew() -> None:
    """One request a second comes, and three are read of those that wait."""
    draining = signals(Load(1.0, 3 * CHAT.prompt_tokens, 3 * CHAT.generated_tokens), waiting=30.0)
    assert sampled(asked(1, 1), draining, 120.0)[-1].load.prompt_tokens == pytest.approx(CHAT.prompt_tokens)
    # Also in the window after the queue is gone: what it was counted over still holds it.
    after = sampled(asked(1, 1), draining, 120.0)
    gone = signals(Load(1.0, 2 * CHAT.prompt_tokens, 2 * CHAT.generated_tokens), waiting=0.0)
    assert sampled(after, gone, 150.0)[-1].load.prompt_tokens == pytest.approx(CHAT.prompt_tokens)


def test_prompts_that_wait_inside_a_target_are_a_queue_too() -> None:
    """60 run; 200 tokens/s of 50 ms each are 10 that decode."""
    told = signals(running=60.0, generated_tokens_per_s=200.0, waiting=3.0)
    assert queued(replace(told, itl_mean_s=0.05)) == pytest.approx(53)
    assert queued(told) == 3


def test_twice_the_mean_may_come_while_a_slow_pod_starts() -> None:
    calm = asked(*[2.0] * 10)
    assert likely(calm, SLOW_START_S).requests == pytest.approx(4, rel=0.01)
    assert likely(calm, 3 * SLOW_START_S) == likely(calm, SLOW_START_S)
    assert likely(calm, SLOW_START_S / 2).requests == pytest.approx(3, rel=0.01)
    assert likely(calm, 0.0).requests == pytest.approx(2)


def test_more_may_come_where_minutes_differed_more() -> None:
    """Now none, now four: a standard deviation as large as the mean."""
    assert likely(asked(*[0.0, 4.0] * 5), SLOW_START_S).requests == pytest.approx(2 * (1 + 1.645))


def test_what_a_window_s_requests_met_is_owed_to_its_load_if_nothing_came_before() -> None:
    full = Demand(0.0, chat(4), queued=30.0, saturated=True)
    assert comparable(asked(4, 4, 4.8), 60.0)
    assert comparable(asked(4, 4, 2), 60.0), "more than this load was borne"
    assert not comparable(asked(4, 4, 6), 60.0), "a burst"
    assert not comparable(asked(4), 60.0), "nothing is known of the time before"
    assert not comparable((full, Demand(60.0, chat(4))), 60.0), "a queue from before"
    assert comparable((*asked(4), replace(full, at_s=50.0), Demand(60.0, chat(4))), 60.0), "a queue of its own"


def served(*ttft_s: float | None, pods: int = 4, every_s: float = 60.0) -> tuple[Demand, ...]:
    """As many windows one after another, of four targets' quiet load."""
    return tuple(Demand(at * every_s, chat(8.0), pods=pods, ttft_p95_s=each) for at, each in enumerate(ttft_s))


def test_bursts_that_come_again_are_the_nature_of_the_traffic() -> None:
    expected_s = PACE.predict(chat(8.0).over(4)).ttft_p95_s
    twice = served(2 * expected_s, 3 * expected_s)
    assert lateness(twice, PACE, 60.0) == pytest.approx(2.0), "the lower of two"
    assert lateness(served(3 * expected_s, 3 * expected_s, expected_s), PACE, 60.0) == pytest.approx(3.0)
    assert lateness(served(9 * expected_s), PACE, 60.0) == 1.0, "one burst says nothing of the next"
    idle = Demand(30.0, Load(), pods=4)
    assert lateness((twice[0], idle, twice[1]), PACE, 60.0) == pytest.approx(2.0), "nor does a lull"


def test_windows_that_overlap_or_that_other_pods_served_too_are_not_counted() -> None:
    expected_s = PACE.predict(chat(8.0).over(4)).ttft_p95_s
    late = (3 * expected_s,) * 4
    assert lateness(served(*late, every_s=15.0), PACE, 60.0) == 1.0, "one minute is one window"
    assert lateness((*served(late[0]), *served(*late, pods=5)[1:2]), PACE, 60.0) == 1.0
    assert lateness(served(None, 3 * expected_s, None), PACE, 60.0) == 1.0
