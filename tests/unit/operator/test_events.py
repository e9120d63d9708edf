"""Events: what has changed is said once, and what was put back, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from outrider_operator.reconcile.difference import stamped
from outrider_operator.reconcile.events import Said, event, repairs, transitions
from outrider_operator.resources.pod import Object


def condition(type_: str, status: str, reason: str, message: str = "as it is") -> Object:
    return {"type": type_, "status": status, "reason": reason, "message": message}


VALID = condition("Accepted", "True", "Valid")
INVALID = condition("Accepted", "False", "Invalid", "spec.target.dtype: no")
WAITING = condition("Ready", "False", "TargetNotReady", "target: 0 of 1")
READY = condition("Ready", "True", "Serving", "answers")
WITHOUT_DRAFT = condition("Ready", "True", "DraftNotReady", "answers without the draft")
REFUSED = condition("Ready", "False", "Refused", "exceeded quota")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([], [VALID, WAITING], []),
        ([VALID, WAITING], [VALID, READY], [Said("Normal", "Ready", "answers")]),
        ([VALID, READY], [VALID, WAITING], [Said("Warning", "NotReady", "target: 0 of 1")]),
        ([VALID, READY], [VALID, WITHOUT_DRAFT], [Said("Warning", "DraftNotReady", "answers without the draft")]),
        ([VALID, WITHOUT_DRAFT], [VALID, READY], [Said("Normal", "Ready", "answers")]),
        ([], [INVALID], [Said("Warning", "NotAccepted", "spec.target.dtype: no")]),
        ([INVALID], [VALID, WAITING], [Said("Normal", "Accepted", "as it is")]),
        ([VALID], [VALID, REFUSED], [Said("Warning", "NotReady", "exceeded quota")]),
        ([VALID, REFUSED], [VALID, REFUSED], []),
        ([INVALID], [{**INVALID, "message": "spec.draft: no"}], [Said("Warning", "NotAccepted", "spec.draft: no")]),
        ([VALID, WAITING], [VALID, {**WAITING, "message": "target: 1 of 2"}], []),
    ],
)
def test_what_has_changed_is_said_once(before: list[Object], after: list[Object], said: list[Said]) -> None:
    assert transitions(before, after) == said


def service(port: int) -> Object:
    return stamped({"kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": port}]}})


def test_what_another_has_changed_or_deleted_is_told_and_what_the_spec_changes_is_not() -> None:
    wanted = service(80)
    edited = {**wanted, "spec": {"ports": [{"port": 81}]}}
    assert [said.reason for said in repairs([wanted], [edited], lost=())] == ["Repaired"]
    assert repairs([wanted], [service(81)], lost=()) == [], "the model's own spec was another"
    assert [said.reason for said in repairs([wanted], [], lost={("Service", "a")})] == ["Restored"]
    assert repairs([wanted], [], lost=()) == [], "a new model's first objects"


def test_an_event_is_about_the_model() -> None:
    model = {
        "apiVersion": "outrider.dev/v1alpha1",
        "kind": "SpeculativeModel",
        "metadata": {"name": "chat", "namespace": "team", "uid": "u"},
    }
    made = event(model, Said("Normal", "Ready", "answers"), datetime(2026, 1, 1, tzinfo=UTC))
    assert made["involvedObject"]["uid"] == "u"
    assert made["metadata"] == {"generateName": "chat.", "namespace": "team"}
    assert made["lastTimestamp"] == "2026-01-01T00:00:00Z"
