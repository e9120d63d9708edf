"""When a process that ended is started again."""

import pytest
from outrider_operator.local.backoff import Backoff, Ending, cannot_start, describe_exit

CRASHED = Ending(exit_code=1, was_ready=False, ready_for_s=0.0)
DIED_YOUNG = Ending(exit_code=-9, was_ready=True, ready_for_s=5.0)
DIED_AFTER_A_HEALTHY_MINUTE = Ending(exit_code=-9, was_ready=True, ready_for_s=60.0)
REFUSED = Ending(exit_code=2, was_ready=False, ready_for_s=0.0)


def waits(*endings: Ending) -> list[float]:
    backoff, waited = Backoff(), []
    for ending in endings:
        wait_s, backoff = backoff.after(ending)
        waited.append(wait_s)
    return waited


def test_a_process_that_never_gets_ready_waits_twice_as_long_each_time_up_to_half_a_minute() -> None:
    assert waits(*[CRASHED] * 7) == [1, 2, 4, 8, 16, 30, 30]


def test_one_that_was_ready_is_started_again_at_once_but_only_the_first_time() -> None:
    assert waits(DIED_YOUNG, DIED_YOUNG, DIED_YOUNG, CRASHED) == [0, 1, 2, 4]


def test_a_healthy_minute_makes_the_next_end_a_first_one() -> None:
    assert waits(CRASHED, CRASHED, DIED_AFTER_A_HEALTHY_MINUTE, DIED_YOUNG) == [1, 2, 0, 1]


def test_a_week_of_failures_is_no_overflow() -> None:
    assert waits(*[CRASHED] * 30_000)[-1] == 30


def test_exit_code_2_before_it_was_ever_ready_is_final() -> None:
    assert cannot_start(REFUSED, ever_ready=False)


@pytest.mark.parametrize("ending", [CRASHED, DIED_YOUNG])
def test_other_ends_are_not_final(ending: Ending) -> None:
    assert not cannot_start(ending, ever_ready=False)


def test_exit_code_2_of_one_that_had_been_ready_is_not_final() -> None:
    assert not cannot_start(REFUSED, ever_ready=True)


@pytest.mark.parametrize(
    ("code", "text"), [(3, "exit code 3"), (-9, "killed by SIGKILL"), (-99, "killed by signal 99")]
)
def test_exit_codes_are_told_in_words(code: int, text: str) -> None:
    assert describe_exit(code) == text
