"""How many drafts are wanted: what the targets' best trees need, none while speculation is off. Pure."""

from __future__ import annotations

import math
from dataclasses import replace

from outrider_operator.autoscaling.behavior import tolerated
from outrider_operator.autoscaling.decision import Reason
from outrider_operator.autoscaling.estimate import Pace
from outrider_operator.autoscaling.history import GateState
from outrider_operator.autoscaling.observation import Observation, Signals
from outrider_operator.autoscaling.policy import Bounds, Policy
from outrider_operator.autoscaling.wish import Wish
from outrider_operator.autoscaling.words import percent, pods, seconds

# So much of what the most drafts would bring is enough: the last twentieth costs a pod and brings a rounding error.
ENOUGH_GOODPUT = 0.95
# Share of the steps' time that targets may wait for trees: a draft that keeps up is waited for after a prompt only. No
# draft is taken away while they wait for more than half of it.
GOAL_WAIT = 0.05
WAIT_BEFORE_REMOVAL = 0.5
# Where only the time that drafts compute is known. They run ahead, so nearly all of it may be of use.
GOAL_BUSY = 0.9
# A target that does not say that it stopped asking is not waited for longer: it goes on without a draft unharmed.
LONGEST_CONFIRMATION_S = 120.0


def most_drafts(bounds: Bounds, policy: Policy, targets: int) -> int:
    """The bound, or the ratio to the targets where that is less; one at least."""
    return max(1, bounds.least, min(bounds.most, math.ceil(policy.drafts_per_target * targets)))


def drafts_while_off(observation: Observation, bounds: Bounds, gate: GateState, now_s: float) -> Wish:
    """The least; but first the targets have to know that they are not to ask any more."""
    off_s, wanted = now_s - gate.since_s, observation.draft.wanted
    if observation.speculating and off_s < LONGEST_CONFIRMATION_S and wanted > bounds.least:
        left = seconds(LONGEST_CONFIRMATION_S - off_s)
        return Wish(
            wanted, None, Reason("draft", "StoppingFirst", f"Held until all targets stopped asking, {left} at most.")
        )
    text = f"Speculation is off: minReplicas, {bounds.least}."
    return Wish(bounds.least, None, Reason("draft", "SpeculationOff", text))


def wished_drafts(
    observation: Observation, signals: Signals, pace: Pace | None, policy: Policy, bounds: Bounds, targets: int
) -> Wish:
    """The replicas that the trees of so many wanted targets need."""
    there = observation.draft
    needed, found = _by_model(signals, pace, most_drafts(bounds, policy, targets), targets)
    if needed is None:
        needed, found = _by_busy(observation, signals, bounds)
    waits = (signals.draft_wait_share or 0.0) / GOAL_WAIT
    waited = f"targets wait for trees {percent(waits * GOAL_WAIT)} of their time, {percent(GOAL_WAIT)} is the goal"
    code = "DraftLoad"
    if needed <= there.wanted and waits > 1 and not tolerated(waits, bounds.behavior):
        # Those that start are to end the wait, so nothing is added to them.
        needed = there.wanted if there.starting else max(there.wanted, there.ready + 1)
        code = "TargetsWait"
    elif needed < there.wanted and waits > WAIT_BEFORE_REMOVAL:
        needed, code = there.wanted, "TargetsWait"
    least, most = max(1, bounds.least), most_drafts(bounds, policy, targets)
    replicas = min(max(needed, least), most)
    limits = "" if replicas == needed else f"; kept within {least} and {most} for {pods(targets)} of the target"
    return Wish(replicas, waits, Reason("draft", code, f"{found}; {waited}{limits}."))


def _by_model(signals: Signals, pace: Pace | None, most: int, targets: int) -> tuple[int | None, str]:
    """The fewest with which the best trees bring nearly what they would with the most."""
    if pace is None or pace.draft is None or not pace.path_acceptance or targets < 1:
        return None, ""
    batch = signals.running / targets

    def goodput(drafts: int) -> float:
        return replace(pace, targets_per_draft=targets / drafts).best(batch).goodput

    enough = ENOUGH_GOODPUT * goodput(most)
    needed = next(drafts for drafts in range(1, most + 1) if goodput(drafts) >= enough)
    carried = batch * targets / needed
    return (
        needed,
        f"{pods(needed)} would draft for {carried:.0f} sequences each, at a level in {seconds(pace.draft.of(carried))}",
    )


def _by_busy(observation: Observation, signals: Signals, bounds: Bounds) -> tuple[int, str]:
    there, busy = observation.draft, signals.draft_busy
    if busy is None:
        return there.wanted, "How busy drafts are is not known"
    found = f"Drafts compute {percent(busy)} of their time, {percent(GOAL_BUSY)} is the goal"
    if tolerated(busy / GOAL_BUSY, bounds.behavior):
        return there.wanted, found
    needed = math.ceil(there.ready * busy / GOAL_BUSY)
    # Those that start count as idle for more, and as fully used for fewer.
    return (max(needed, there.wanted) if busy > GOAL_BUSY else min(needed + there.starting, there.wanted)), found
