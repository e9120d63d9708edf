"""What the autoscaler wants, and why. Only data: decide makes it, actuate and the replay carry it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Subject = Literal["target", "draft", "speculation"]


@dataclass(frozen=True)
class Reason:
    """Why one thing is as it was decided. code: a CamelCase word for metrics and conditions. text: one sentence with
    figures, for a person on call. Of several reasons of one role the first says most.
    """

    role: Subject
    code: str
    text: str


@dataclass(frozen=True)
class Decision:
    """Replicas of both roles, and whether the targets may speculate. A hold is a decision too and has its reasons.

    gain: the best tree's goodput over plain decoding, as estimated; None where nothing was measured to tell.
    usage: the target's largest usage over its goal, that which the replicas follow; None where nothing was measured.
    """

    target_replicas: int
    draft_replicas: int
    speculate: bool
    reasons: tuple[Reason, ...]
    gain: float | None = None
    usage: float | None = None

    def why(self, role: Subject) -> Reason | None:
        """The first reason of one role."""
        return next((reason for reason in self.reasons if reason.role == role), None)
