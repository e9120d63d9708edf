"""Speculation goes off where it does not pay, is tried again, and never goes to and fro."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outrider_operator.autoscaling.gate import (
    FIRST_BACKOFF_S,
    FLIPS_PERIOD_S,
    HYSTERESIS,
    LONGEST_BACKOFF_S,
    MOST_FLIPS,
    STABLE_S,
    Evidence,
    initial,
    judged,
    reopened,
    told,
)
from outrider_operator.autoscaling.history import GateState
from unit.operator.autoscaling.world import POLICY, TICK_S

PAYS, LOSES = 1.4, 0.9


def drafting(estimated: float | None, measured: float | None = None) -> Evidence:
    return Evidence(estimated, measured, drafting=True)


def follow(
    evidence: Iterable[Evidence], state: GateState | None = None, from_s: float = 0.0, ready: bool = True
) -> list[tuple[float, GateState, str]]:
    """(time, state, reason's code) at each tick."""
    state, seen = state or initial(True, from_s), []
    for tick, found in enumerate(evidence):
        now_s = from_s + tick * TICK_S
        # What the targets do follows what they were told.
        state, reason = judged(state, replace(found, drafting=found.drafting and state.told), POLICY, now_s)
        state = told(state, ready, now_s)
        seen.append((now_s, state, reason.code))
    return seen


def ticks(seconds: float) -> int:
    return int(seconds / TICK_S) + 1


def first(seen: list[tuple[float, GateState, str]], open_: bool) -> float:
    return next(at_s for at_s, state, _ in seen if state.open == open_)


def test_it_goes_off_when_the_gain_has_been_low_for_the_whole_window_and_not_before() -> None:
    seen = follow([drafting(LOSES)] * ticks(STABLE_S))
    assert first(seen, False) == STABLE_S
    assert seen[-1][2] == "DoesNotPay"


def test_one_good_moment_begins_the_window_anew() -> None:
    seen = follow([*[drafting(LOSES)] * 10, drafting(PAYS), *[drafting(LOSES)] * ticks(STABLE_S)])
    assert first(seen, False) == 11 * TICK_S + STABLE_S


def test_what_was_measured_counts_for_more_than_what_was_estimated() -> None:
    assert first(follow([drafting(PAYS, LOSES)] * ticks(STABLE_S)), False) == STABLE_S
    assert all(state.open for _, state, _ in follow([drafting(LOSES, PAYS)] * ticks(2 * STABLE_S)))


@pytest.mark.parametrize(
    ("what", "evidence", "code"),
    [
        ("no draft is ready: not the trees' fault", Evidence(LOSES, LOSES), "Waiting"),
        ("nothing is known", drafting(None), "Waiting"),
        ("nobody asks for anything", Evidence(LOSES, LOSES, drafting=True, idle=True), "Idle"),
    ],
)
def test_it_stays_on_where_nothing_can_be_judged(what: str, evidence: Evidence, code: str) -> None:
    seen = follow([evidence] * ticks(3 * STABLE_S))
    assert all(state.open for _, state, _ in seen), what
    assert {found for _, _, found in seen} == {code}


def test_between_the_thresholds_it_stays_as_it_is() -> None:
    between = POLICY.min_goodput_gain * (1 + HYSTERESIS) / 2
    assert all(state.open for _, state, _ in follow([drafting(between)] * ticks(3 * STABLE_S)))
    closed = replace(initial(False, 0.0), closed_gain=None)
    assert not any(state.open for _, state, _ in follow([drafting(between)] * ticks(FIRST_BACKOFF_S - TICK_S), closed))


def test_it_is_tried_again_after_longer_and_longer_waits() -> None:
    hours = ticks(8 * 3600)
    seen = follow([drafting(LOSES)] * hours)
    changes = [
        (at_s, state.open) for (_, before, _), (at_s, state, _) in itertools.pairwise(seen) if before.open != state.open
    ]
    closed = [at_s for at_s, open_ in changes if not open_]
    opened = [at_s for at_s, open_ in changes if open_]
    waits = [on - off for off, on in zip(closed, opened, strict=False)]
    assert waits[0] == FIRST_BACKOFF_S
    assert all(wait >= least for wait, least in zip(waits, (600, 1200, 2400, 3600), strict=False))
    assert waits[-1] == LONGEST_BACKOFF_S


def test_it_goes_on_before_the_probe_when_the_estimate_says_that_the_load_has_changed() -> None:
    off = follow([drafting(LOSES)] * ticks(STABLE_S))[-1][1]
    seen = follow([drafting(PAYS)] * ticks(FIRST_BACKOFF_S), off, from_s=STABLE_S + TICK_S)
    assert first(seen, True) == 2 * STABLE_S + TICK_S
    assert "PaysAgain" in {code for _, _, code in seen}


def test_an_estimate_that_was_wrong_before_does_not_turn_it_on_again() -> None:
    """It promised 1.4 when 0.9 was measured: the same promise is worth nothing until the next probe."""
    off = follow([drafting(PAYS, LOSES)] * ticks(STABLE_S))[-1][1]
    seen = follow([drafting(PAYS, LOSES)] * ticks(FIRST_BACKOFF_S - 2 * TICK_S), off, from_s=STABLE_S + TICK_S)
    assert not any(state.open for _, state, _ in seen)


def test_it_goes_on_only_where_it_could_go_off_again_within_the_hour() -> None:
    """Three changes lately: the fourth would be the last, and speculation would be stuck on."""
    closed = replace(initial(False, 0.0), flips=(100.0, 900.0, 1100.0))
    assert judged(closed, drafting(PAYS), POLICY, 3600.0)[1].code == "TooManyFlips"
    assert judged(closed, drafting(PAYS), POLICY, 3700.0)[1].code == "Probe"


def test_the_targets_are_told_when_a_draft_is_ready_and_off_at_once() -> None:
    off = initial(False, 0.0)
    opened = replace(off, open=True)
    assert not told(opened, draft_ready=False, now_s=15.0).told
    on = told(opened, draft_ready=True, now_s=30.0)
    assert (on.told, on.flips) == (True, (30.0,))
    # A draft that dies later is no reason to tell them off: they go on with n-grams by themselves.
    assert told(on, draft_ready=False, now_s=45.0) == on
    assert told(replace(on, open=False), draft_ready=False, now_s=60.0).flips == (30.0, 60.0)


def test_a_change_of_models_is_no_flip_and_what_the_new_one_earns_is() -> None:
    closed = replace(initial(False, 0.0), flips=(100.0, 900.0, 1100.0))
    on = told(reopened(closed, 1200.0), draft_ready=True, now_s=1200.0)
    assert (on.told, on.flips) == (True, closed.flips)
    seen = follow([drafting(LOSES)] * ticks(STABLE_S), on, from_s=1215.0)
    assert (seen[-1][1].told, len(seen[-1][1].flips)) == (False, 4)
    # Where targets ask already there is nothing to tell, and all that comes later counts.
    on = reopened(initial(True, 0.0), 10.0)
    off = told(replace(on, open=False), draft_ready=True, now_s=20.0)
    assert told(replace(off, open=True), draft_ready=True, now_s=30.0).flips == (20.0, 30.0)
    never_told = replace(reopened(initial(False, 0.0), 10.0), open=False)
    probe, _ = judged(never_told, drafting(None), POLICY, 10.0 + FIRST_BACKOFF_S)
    assert told(probe, draft_ready=True, now_s=700.0).flips == (700.0,)


@pytest.mark.parametrize("open_", [True, False])
def test_what_the_old_model_earns_decides_nothing_while_another_starts(open_: bool) -> None:
    evidence = replace(drafting(LOSES if open_ else PAYS), outgoing=True)
    seen = follow([evidence] * ticks(2 * FIRST_BACKOFF_S), initial(open_, 0.0))
    assert {(state.open, code) for _, state, code in seen} == {(open_, "Waiting")}


def test_always_never_goes_off() -> None:
    policy = replace(POLICY, always=True)
    state = initial(True, 0.0)
    for tick in range(ticks(3 * STABLE_S)):
        state, reason = judged(state, drafting(LOSES, LOSES), policy, tick * TICK_S)
    assert (state.open, reason.code) == (True, "Always")
    assert judged(initial(False, 0.0), drafting(LOSES), policy, 0.0)[0].open


def test_who_takes_over_goes_on_as_the_targets_were_told() -> None:
    assert not initial(False, 500.0).told
    assert initial(True, 500.0).open


gains = st.one_of(st.none(), st.sampled_from([LOSES, 1.05, 1.08, PAYS]))
spans = st.tuples(gains, gains, st.booleans(), st.booleans(), st.integers(1, 80))


@given(st.lists(spans, min_size=1, max_size=40), st.booleans())
def test_it_changes_at_most_four_times_in_any_hour(
    script: list[tuple[float | None, float | None, bool, bool, int]], speculating: bool
) -> None:
    """Whatever acceptance does, whether drafts come or not, and whether anybody asks."""
    state, now_s, flips, was_told = initial(speculating, 0.0), 0.0, [], speculating
    for estimated, measured, ready, idle, length in script:
        for _ in range(length):
            evidence = Evidence(estimated, measured, drafting=state.told and ready, idle=idle)
            state, reason = judged(state, evidence, POLICY, now_s)
            state = told(state, ready, now_s)
            assert reason.text
            if state.told != was_told:
                flips.append(now_s)
            was_told = state.told
            now_s += TICK_S
    for at_s in flips:
        assert sum(at_s <= other < at_s + FLIPS_PERIOD_S for other in flips) <= MOST_FLIPS


def test_the_rule_of_four_an_hour_is_what_stops_it() -> None:
    """Gains that turn around exactly when each window is over would flip it 20 times; and it must not be caught on."""
    script = [drafting(gain, gain) for _ in range(10) for gain in (LOSES, 3.0) for _ in range(ticks(STABLE_S))]
    seen = follow(script)
    flips = seen[-1][1].flips
    assert "TooManyFlips" in {code for _, _, code in seen}
    assert 2 <= len(flips) <= MOST_FLIPS
