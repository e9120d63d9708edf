"""The autoscaler that the operator runs, and a fleet that never changes."""

from __future__ import annotations

from outrider_operator.autoscaling.decide import decide
from outrider_operator.autoscaling.decision import Decision, Reason
from outrider_operator.autoscaling.history import History
from outrider_operator.autoscaling.policy import Policy
from outrider_operator.autoscaling.replay.sight import Scaler, Sight

TICK_S = 15.0


class Outrider:
    """`decide`, as the operator calls it: the same function. started_s: when the process began to look."""

    tick_s = TICK_S

    def __init__(self, policy: Policy, started_s: float = 0.0) -> None:
        self._policy = policy
        self._history = History(started_s=started_s)

    def decide(self, sight: Sight, now_s: float) -> Decision:
        decision, self._history = decide(sight.observe(), self._policy, self._history, now_s)
        return decision


class Fixed:
    """As many targets as were given, a draft for each."""

    tick_s = TICK_S

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas

    def decide(self, sight: Sight, now_s: float) -> Decision:
        del sight, now_s
        return paired(self._replicas, Reason("target", "Fixed", f"{self._replicas} as given."))


class Then:
    """One policy, and from `from_s` on another: what could still have been done about something at that moment."""

    def __init__(self, first: Scaler, then: Scaler, from_s: float) -> None:
        self.tick_s = min(first.tick_s, then.tick_s)
        self._first, self._then, self._from_s = first, then, from_s

    def decide(self, sight: Sight, now_s: float) -> Decision:
        return (self._then if now_s >= self._from_s else self._first).decide(sight, now_s)


def paired(replicas: int, reason: Reason) -> Decision:
    """Of a policy that knows one number: a draft for each target. Whether a step speculates is the target's choice."""
    return Decision(replicas, replicas, True, (reason,))
