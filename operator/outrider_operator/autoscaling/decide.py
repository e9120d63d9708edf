"""How many pods each role is to have and whether to speculate. No I/O, no clock: live, advisory, replay and tests share it."""

from __future__ import annotations

from outrider_operator.autoscaling.decision import Decision, Reason
from outrider_operator.autoscaling.history import History
from outrider_operator.autoscaling.observation import Observation
from outrider_operator.autoscaling.policy import Policy


def decide(observation: Observation, policy: Policy, history: History, now_s: float) -> tuple[Decision, History]:
    """What is to be done about what was seen, and what to remember for the next time.

    now_s: monotonic seconds. Call it at every tick, also when nothing could be measured (signals None).
    """
    del policy, now_s
    held = Decision(
        observation.target.wanted,
        observation.draft.wanted,
        observation.speculating,
        (Reason("target", "NoMetrics", "Held: nothing is judged yet."),),
    )
    return held, history
