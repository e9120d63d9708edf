"""What people are told of changes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from outrider_operator.api.v1alpha1 import Status
from outrider_operator.autoscaling.decision import Decision, Reason
from outrider_operator.autoscaling.report import Change, advised, change, entries, said

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WHY = Decision(
    3,
    1,
    True,
    (
        Reason("target", "LatencyHigh", "ITL p95 is 70 ms, the goal 50 ms."),
        Reason("target", "Stabilized", "It was 3 within 300 s."),
    ),
)


def test_a_change_has_the_reason_that_says_most() -> None:
    made = change(WHY, "target", 1, 3)
    assert (made.reason, made.text) == ("LatencyHigh", "ITL p95 is 70 ms, the goal 50 ms.")


def test_the_status_keeps_the_last_five_the_newest_first() -> None:
    told: list[dict[str, object]] = []
    for replicas in range(1, 8):
        told = entries(told, [change(WHY, "target", replicas, replicas + 1)], NOW)
    assert [each["to"] for each in told] == [8, 7, 6, 5, 4]
    assert Status.model_validate({"scalingDecisions": told}).scaling_decisions is not None


@pytest.mark.parametrize(
    ("made", "reason", "message"),
    [
        (Change("target", 1, 2, "QueueGrows", "9 wait."), "ScaledUp", "target: 1 → 2: 9 wait."),
        (Change("draft", 2, 0, "NotEarned", "Gain 0.9."), "ScaledDown", "draft: 2 → 0: Gain 0.9."),
        (Change("speculation", 1, 0, "NotEarned", "Gain 0.9."), "SpeculationStopped", "drafting is off: Gain 0.9."),
        (Change("speculation", 0, 1, "Probe", ""), "SpeculationStarted", "drafting is on"),
    ],
)
def test_events_say_what_and_why(made: Change, reason: str, message: str) -> None:
    event = said(made)
    assert (event.type, event.reason, event.message) == ("Normal", reason, message)


def test_advice_is_given_once() -> None:
    assert advised([], {"target": 3, "draft": 1}, {"target": 1, "draft": 1}) == {"target": 1}
    told = entries([], [change(WHY, "target", 1, 3)], NOW)
    assert advised(told, {"target": 3}, {"target": 1}) == {}
    assert advised(told, {"target": 2}, {"target": 1}) == {"target": 3}


def test_the_last_advice_counts() -> None:
    told = entries(entries([], [change(WHY, "target", 1, 3)], NOW), [change(WHY, "target", 3, 1)], NOW)
    assert advised(told, {"target": 1}, {"target": 1}) == {}
