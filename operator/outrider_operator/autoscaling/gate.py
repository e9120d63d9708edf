"""Whether speculation is to be on: by what it earns, slowly, and never to and fro. Pure.

Inside the targets a faster loop gives every step the tree that pays, down to none. This one frees the draft's hardware
where that is none for long, and looks from time to time whether it still is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from outrider_operator.autoscaling.decision import Reason
from outrider_operator.autoscaling.history import GateState
from outrider_operator.autoscaling.policy import Policy
from outrider_operator.autoscaling.words import seconds

# The gain has to be on the other side for so long: three windows of the signals.
STABLE_S = 180.0
# To go on it has to be so much above what it goes off below.
HYSTERESIS = 1.05
# Between probes: a draft has to start and to read all prompts for each.
FIRST_BACKOFF_S = 600.0
LONGEST_BACKOFF_S = 3600.0
# A hard rule, whatever is measured.
MOST_FLIPS = 4
FLIPS_PERIOD_S = 3600.0


@dataclass(frozen=True)
class Evidence:
    """What is known of the gain now. estimated: by the model, of the best tree. measured: by the targets, of the
    draft over what n-grams earn without one. None where it is not known. drafting: whether the targets get trees of a
    draft, so that a low gain is the trees'. idle: nothing is generated. outgoing: it is that of a model in whose place
    another is starting.
    """

    estimated: float | None = None
    measured: float | None = None
    drafting: bool = False
    idle: bool = False
    outgoing: bool = False


def initial(speculating: bool, now_s: float) -> GateState:
    """As the targets were told by whoever was here before."""
    return GateState(speculating, now_s, speculating, FIRST_BACKOFF_S)


def reopened(state: GateState, now_s: float) -> GateState:
    """With another model: what the old one earned is no reason not to try it at once."""
    return replace(_opened(state, FIRST_BACKOFF_S, now_s), another=True)


def judged(state: GateState, evidence: Evidence, policy: Policy, now_s: float) -> tuple[GateState, Reason]:
    """Opens or closes the gate, or leaves it, and says why."""
    if policy.always:
        text = f"On: speculation.mode is Always; the draft's gain is {_gain(evidence.measured or evidence.estimated)}."
        return (state if state.open else _opened(state, FIRST_BACKOFF_S, now_s)), Reason("speculation", "Always", text)
    if evidence.idle:
        text = f"{_stands(state)}: nothing is generated to judge it by."
        return replace(state, other_since_s=None), Reason("speculation", "Idle", text)
    if evidence.outgoing:
        text = f"{_stands(state)}: another model is starting, and this one's gain is no reason to change anything."
        return replace(state, other_since_s=None), Reason("speculation", "Waiting", text)
    return _while_open(state, evidence, policy, now_s) if state.open else _while_closed(state, evidence, policy, now_s)


def told(state: GateState, draft_ready: bool, now_s: float) -> GateState:
    """What the targets are to be told: off at once, on when a draft is ready. That another model is tried is no flip:
    a person has asked for it.
    """
    tell = state.open and (state.told or draft_ready)
    if tell == state.told:
        return state
    flips = _recent(state, now_s)
    return replace(state, told=tell, flips=flips if tell and state.another else (*flips, now_s), another=False)


def _while_open(state: GateState, evidence: Evidence, policy: Policy, now_s: float) -> tuple[GateState, Reason]:
    # What was measured is with whatever trees the targets chose; the estimate only stands in for it.
    gain = evidence.measured if evidence.measured is not None else evidence.estimated
    if gain is None or not evidence.drafting:
        what = "no draft's trees are verified yet" if not evidence.drafting else "the draft's gain is not known yet"
        return replace(state, other_since_s=None), Reason("speculation", "Waiting", f"On: {what}.")
    least = policy.min_goodput_gain
    if gain >= least:
        text = f"On: the draft's gain is {gain:.2f}, at least {least:.2f} is asked for."
        return replace(state, other_since_s=None), Reason("speculation", "Pays", text)
    since_s = now_s if state.other_since_s is None else state.other_since_s
    state = replace(state, other_since_s=since_s)
    below = f"the draft's gain is {gain:.2f}, below {least:.2f} for {seconds(now_s - since_s)}"
    if now_s - since_s < STABLE_S:
        return state, Reason("speculation", "BelowGain", f"On: {below}; off after {seconds(STABLE_S)}.")
    if not _may_flip(state, now_s):
        return state, Reason("speculation", "TooManyFlips", f"On: {below}, but {_flipped(state, now_s)}.")
    # Open for long, it was right for long: the next probe need not wait.
    backoff_s = FIRST_BACKOFF_S if now_s - state.since_s > LONGEST_BACKOFF_S else state.backoff_s
    closed = replace(
        state, open=False, since_s=now_s, other_since_s=None, closed_gain=evidence.estimated, backoff_s=backoff_s
    )
    return closed, Reason("speculation", "DoesNotPay", f"Off: {below}; tried again in {seconds(backoff_s)}.")


def _while_closed(state: GateState, evidence: Evidence, policy: Policy, now_s: float) -> tuple[GateState, Reason]:
    gain, needed = evidence.estimated, HYSTERESIS * max(policy.min_goodput_gain, state.closed_gain or 0.0)
    pays = gain is not None and gain >= needed
    began_s = now_s if state.other_since_s is None else state.other_since_s
    since_s = began_s if pays else None
    state = replace(state, other_since_s=since_s)
    found = f"the draft's gain is estimated at {_gain(gain)}, {needed:.2f} is needed to go on"
    # A flip is kept in reserve to take this one back.
    if not _may_flip(state, now_s, reserve=1):
        return state, Reason("speculation", "TooManyFlips", f"Off: {_flipped(state, now_s)}; {found}.")
    if since_s is not None and now_s - since_s >= STABLE_S:
        opened = _opened(state, FIRST_BACKOFF_S, now_s)
        return opened, Reason(
            "speculation", "PaysAgain", f"On: the draft's gain is estimated at {_gain(gain)} since the load changed."
        )
    waited_s = now_s - state.since_s
    if waited_s >= state.backoff_s:
        opened = _opened(state, min(2 * state.backoff_s, LONGEST_BACKOFF_S), now_s)
        return opened, Reason("speculation", "Probe", f"On to see whether it pays, after {seconds(waited_s)} off.")
    left = seconds(state.backoff_s - waited_s)
    return state, Reason("speculation", "DoesNotPay", f"Off: {found}; tried again in {left}.")


def _opened(state: GateState, backoff_s: float, now_s: float) -> GateState:
    return replace(
        state, open=True, since_s=now_s, other_since_s=None, closed_gain=None, backoff_s=backoff_s, another=False
    )


def _recent(state: GateState, now_s: float) -> tuple[float, ...]:
    return tuple(at_s for at_s in state.flips if at_s > now_s - FLIPS_PERIOD_S)


def _may_flip(state: GateState, now_s: float, reserve: int = 0) -> bool:
    return len(_recent(state, now_s)) + 1 + reserve <= MOST_FLIPS


def _flipped(state: GateState, now_s: float) -> str:
    return f"it changed {len(_recent(state, now_s))} times within the hour and {MOST_FLIPS} is the most"


def _stands(state: GateState) -> str:
    return "On" if state.open else "Off"


def _gain(gain: float | None) -> str:
    return "not known" if gain is None else f"{gain:.2f}"
