"""What is told of changes: entries of the status, and Events. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from outrider_operator.autoscaling.decision import Decision, Reason, Subject
from outrider_operator.reconcile.events import LONGEST_MESSAGE, Said
from outrider_operator.resources.pod import Object

KEPT = 5


@dataclass(frozen=True)
class Change:
    """Of a role's replicas, or of speculation: 1 is on, 0 off."""

    role: Subject
    before: int
    after: int
    reason: str
    text: str

    def as_log(self) -> dict[str, object]:
        return {"role": self.role, "before": self.before, "after": self.after, "reason": self.reason, "text": self.text}


def change(decision: Decision | None, role: Subject, before: int, after: int) -> Change:
    """With the reason that the decision gives. decision: None where it is not for the operator to say."""
    if decision is None:
        return Change(role, before, after, "NotAsked", "spec.autoscaling leaves it alone now.")
    why = decision.why(role) or Reason(role, "Decided", "")
    return Change(role, before, after, why.code, why.text)


def entries(before: Sequence[Object], changes: Iterable[Change], now: datetime) -> list[Object]:
    """status.scalingDecisions with the changes: the newest first, and no more than are kept."""
    at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    new = [
        {
            "time": at,
            "role": each.role,
            "from": each.before,
            "to": each.after,
            "reason": each.reason,
            "message": each.text,
        }
        for each in changes
    ]
    return [*reversed(new), *before][:KEPT]


def advised(
    before: Sequence[Object], wanted: Mapping[Subject, int], there: Mapping[Subject, int]
) -> dict[Subject, int]:
    """Of what is wanted, that which was not told yet: by what it was last told to be, or else by what is there."""
    last = {each["role"]: int(each["to"]) for each in reversed(before)}
    return {role: was for role, value in wanted.items() if (was := last.get(role, there[role])) != value}


def said(made: Change) -> Said:
    """The Event of a change."""
    if made.role == "speculation":
        reason = "SpeculationStarted" if made.after else "SpeculationStopped"
        what = f"drafting is {'on' if made.after else 'off'}"
    else:
        reason = "ScaledUp" if made.after > made.before else "ScaledDown"
        what = f"{made.role}: {made.before} → {made.after}"
    return Said("Normal", reason, f"{what}: {made.text}"[:LONGEST_MESSAGE] if made.text else what)
