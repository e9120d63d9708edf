"""How many pods each role is to have and whether to speculate. No I/O, no clock: the same live, in replay and in tests.

Each role has a wish (target, draft), and behaviour, rates and bounds grant what they let of it (wish). The gate stands
between the two: by it drafts are wanted or not.
"""

from __future__ import annotations

from dataclasses import replace

from outrider_operator.autoscaling.behavior import bounded
from outrider_operator.autoscaling.decision import Decision, Reason, Subject
from outrider_operator.autoscaling.draft import drafts_while_off, most_drafts, wished_drafts
from outrider_operator.autoscaling.estimate import Pace
from outrider_operator.autoscaling.gate import Evidence, initial, judged, told
from outrider_operator.autoscaling.history import GateState, History
from outrider_operator.autoscaling.observation import Observation, Signals
from outrider_operator.autoscaling.policy import Bounds, Policy
from outrider_operator.autoscaling.remember import remembered
from outrider_operator.autoscaling.target import wished_targets
from outrider_operator.autoscaling.wish import Removal, Wish, granted, remember
from outrider_operator.autoscaling.words import pods


def decide(observation: Observation, policy: Policy, history: History, now_s: float) -> tuple[Decision, History]:
    """What is to be done about what was seen, and what to remember for the next time.

    now_s: monotonic seconds. Call it at every tick, also when nothing could be measured (signals None).
    """
    history = remembered(history, observation, now_s)
    signals = observation.signals
    pace = _pace(observation, signals, policy, history) if signals else None
    wish = wished_targets(observation, signals, pace, policy, history, now_s) if signals else None
    seen_since_s = now_s if history.seen_since_s is None else history.seen_since_s
    # One target at a time, and the next only by what was measured without it.
    removal = Removal(seen_since_s, at_once=1, apart_s=signals.window_s if signals else 0.0)
    targets, why_targets = _replicas("target", observation, policy.target, wish, history, removal, now_s)
    target_history = remember(history.target, wish, targets, policy.target, now_s)
    history = replace(history, target=target_history)
    usage = wish.usage if wish else None
    if policy.draft is None:
        reasons = (why_targets, Reason("speculation", "NoDraft", "There is no draft to turn on or off."))
        return Decision(targets, observation.draft.wanted, observation.speculating, reasons, usage=usage), history

    drafted = _with_drafts(pace, history) if pace else None
    gain = _gain(observation, signals, drafted, policy, policy.draft, targets) if signals else None
    gate, why_gate = _gate(observation, policy, history, gain, now_s)
    draft_wish = _draft_wish(observation, drafted, policy, policy.draft, gate, targets, now_s)
    at_once = Removal(seen_since_s, at_once=max(1, observation.draft.wanted), apart_s=0.0)
    drafts, why_drafts = _replicas("draft", observation, policy.draft, draft_wish, history, at_once, now_s)
    draft_history = remember(history.draft, draft_wish, drafts, policy.draft, now_s)
    decision = Decision(targets, drafts, gate.told, (why_targets, why_drafts, why_gate), gain, usage)
    return decision, replace(history, draft=draft_history, gate=gate)


def _pace(observation: Observation, signals: Signals, policy: Policy, history: History) -> Pace | None:
    """What the targets do as they are: with drafts only where they were told so and drafts are ready."""
    known = history.known
    if known.step_time is None or signals.max_sequences < 1:
        return None
    now = Pace(
        known.step_time,
        signals.max_sequences,
        known.draft_time,
        path_acceptance=signals.path_acceptance,
        nodes_per_depth=signals.nodes_per_depth,
        max_depth=policy.max_depth,
        chunk_tokens=signals.chunk_tokens,
    )
    if observation.drafting:
        return replace(_with_drafts(now, history), targets_per_draft=observation.target.ready / observation.draft.ready)
    # Trees of n-grams alone cost no draft's time.
    return replace(now, targets_per_draft=0.0) if signals.path_acceptance else now


def _with_drafts(pace: Pace, history: History) -> Pace:
    """With the trees that drafts grew when they last did."""
    known = history.known
    return replace(pace, path_acceptance=known.path_acceptance, nodes_per_depth=known.nodes_per_depth)


def _gain(
    observation: Observation, signals: Signals, pace: Pace | None, policy: Policy, bounds: Bounds, targets: int
) -> float | None:
    """The best tree's gain at the present batch, with the drafts that there could be."""
    if pace is None or not pace.path_acceptance:
        return None
    ours = "draft" not in observation.others and bounds.least < bounds.most
    drafts = most_drafts(bounds, policy, targets) if ours else max(1, observation.draft.wanted)
    return replace(pace, targets_per_draft=targets / drafts).gain(signals.running / signals.pods)


def _gate(
    observation: Observation, policy: Policy, history: History, gain: float | None, now_s: float
) -> tuple[GateState, Reason]:
    state = history.gate or initial(observation.speculating, now_s)
    signals = observation.signals
    if signals is None:
        return replace(state, other_since_s=None), _no_metrics("speculation")
    evidence = Evidence(
        estimated=gain,
        measured=signals.draft_gain if signals.draft_gain is not None else signals.gain,
        drafting=observation.drafting,
        idle=signals.generated_tokens_per_s <= 0,
        outgoing=observation.outgoing,
    )
    state, reason = judged(state, evidence, policy, now_s)
    return told(state, observation.draft.ready > 0, now_s), reason


def _draft_wish(
    observation: Observation,
    pace: Pace | None,
    policy: Policy,
    bounds: Bounds,
    gate: GateState,
    targets: int,
    now_s: float,
) -> Wish | None:
    if observation.signals is None:
        return None
    if not gate.open:
        return drafts_while_off(observation, bounds, gate, now_s)
    return wished_drafts(observation, observation.signals, pace, policy, bounds, targets)


def _replicas(
    role: Subject,
    observation: Observation,
    bounds: Bounds,
    wish: Wish | None,
    history: History,
    removal: Removal,
    now_s: float,
) -> tuple[int, Reason]:
    """What one role is to have: held where it is not ours to change or nothing is known, else what is granted."""
    there, past = (observation.target, history.target) if role == "target" else (observation.draft, history.draft)
    who = observation.others.get(role)
    if who is not None:
        return there.wanted, Reason(role, "ScaledByOthers", f"Held at {there.wanted}: {who} scales it.")
    if role == "target" and there.wanted == 0 < bounds.least:
        return 0, Reason(role, "ScalingDisabled", "Held at 0: scaled to zero by hand; scale it up to go on.")
    if bounds.least == bounds.most:
        return bounds.least, Reason(role, "Fixed", f"{pods(bounds.least)}, as spec.{role}.replicas says.")
    inside = bounded(there.wanted, bounds)
    if inside != there.wanted:
        text = f"{there.wanted} is outside minReplicas, {bounds.least}, and maxReplicas, {bounds.most}."
        return inside, Reason(role, "OutsideBounds", text)
    if wish is None:
        return there.wanted, _no_metrics(role)
    return granted(wish, there.wanted, bounds, past, removal, now_s)


def _no_metrics(subject: Subject) -> Reason:
    return Reason(subject, "NoMetrics", "Held: no target answers with its metrics.")
