"""What a new observation adds to the history, before anything is decided. Pure."""

from __future__ import annotations

from dataclasses import replace

from outrider_operator.autoscaling.behavior import recent_changes
from outrider_operator.autoscaling.demand import sampled
from outrider_operator.autoscaling.gate import reopened
from outrider_operator.autoscaling.history import History, Known, Recommended, RoleHistory, Scaled, Starts
from outrider_operator.autoscaling.observation import Observation, Pods, Signals

# One reading may fail. After a longer break what is seen may be another load, and the windows begin anew.
LONGEST_BREAK_S = 60.0


def remembered(history: History, observation: Observation, now_s: float) -> History:
    """The history with what was just seen."""
    history = replace(
        history,
        target=_role(history.target, observation.target, now_s),
        draft=_role(history.draft, observation.draft, now_s),
        starts=_starts(history.starts, history.target, observation.target, now_s),
    )
    signals = observation.signals
    if signals is None:
        return history
    unbroken = history.seen_s is not None and now_s - history.seen_s <= LONGEST_BREAK_S
    return replace(
        history,
        demand=sampled(history.demand, signals, now_s),
        known=_known(history.known, signals, observation.drafting),
        seen_since_s=history.seen_since_s if unbroken else now_s,
        seen_s=now_s,
    )


def with_other_models(history: History, now_s: float) -> History:
    """What another target or draft takes and earns is not what the last one did; what clients ask is."""
    return replace(history, known=Known(), gate=history.gate and reopened(history.gate, now_s))


def _role(past: RoleHistory, pods: Pods, now_s: float) -> RoleHistory:
    scaled = recent_changes(past.scaled, now_s)
    if past.wanted is not None and pods.wanted != past.wanted:
        ours = past.decided is not None and past.decided.replicas == pods.wanted
        at_s = past.decided.at_s if ours and past.decided else now_s
        scaled = (*scaled, Scaled(at_s, pods.wanted - past.wanted))
    # As HPA has it: who begins to look takes what is there for the first recommendation, so that the next look does not
    # count as a whole window.
    recommended = (Recommended(now_s, pods.wanted),) if past.wanted is None else past.recommended
    since_s = past.ready_since_s if pods.ready == past.ready else now_s
    return replace(
        past,
        recommended=recommended,
        scaled=scaled,
        wanted=pods.wanted,
        ready=pods.ready,
        ready_since_s=since_s,
    )


def _starts(past: Starts, before: RoleHistory, pods: Pods, now_s: float) -> Starts:
    """The oldest is taken to get ready first, and the youngest to be the one that is taken away."""
    began_s = past.began_s
    readied = 0 if before.ready is None else min(max(0, pods.ready - before.ready), len(began_s))
    start_s = now_s - began_s[readied - 1] if readied else past.start_s
    coming = (*began_s[readied:], *[now_s] * pods.starting)
    return Starts(coming[: pods.starting], start_s)


def _known(past: Known, signals: Signals, drafting: bool) -> Known:
    """While nobody drafts, what is accepted is of n-grams, and says nothing of a draft."""
    drafted = drafting and bool(signals.path_acceptance)
    return Known(
        step_time=signals.step_time or past.step_time,
        draft_time=signals.draft_time or past.draft_time,
        path_acceptance=signals.path_acceptance if drafted else past.path_acceptance,
        nodes_per_depth=signals.nodes_per_depth if drafted else past.nodes_per_depth,
    )
