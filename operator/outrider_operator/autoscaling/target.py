"""How many targets are wanted: enough for the goals, soon; and no more, for long. Before behaviour and bounds. Pure."""

from __future__ import annotations

import math

from outrider_operator.autoscaling.behavior import tolerated
from outrider_operator.autoscaling.decision import Reason
from outrider_operator.autoscaling.demand import comparable, lateness, likely, queued, soon, with_backlog
from outrider_operator.autoscaling.estimate import Load, Pace
from outrider_operator.autoscaling.history import History
from outrider_operator.autoscaling.observation import Observation, Pods, Signals
from outrider_operator.autoscaling.policy import Policy
from outrider_operator.autoscaling.sizing import Sizing, sizing
from outrider_operator.autoscaling.wish import Wish
from outrider_operator.autoscaling.words import pods

# Until a start was seen: tens of gigabytes of weights from a volume.
START_S = 180.0
# What was measured may ask for more than the model does, but not for more than so many times as much; without a model
# for no more than so many times what is ready. Where more pods do not help, a fleet must not grow to its bound.
MOST_BEYOND = 2.0


def wished_targets(
    observation: Observation, signals: Signals, pace: Pace | None, policy: Policy, history: History, now_s: float
) -> Wish:
    """The replicas that the load asks for.

    Up: the fewest that keep all goals, as soon as those that are there or start miss one by more than the tolerance.
    Down: the fewest that would still keep well within them, under the same load: it is never below the mean of the last
    minutes, nor below the last.
    """
    there, window_s, behavior = observation.target, signals.window_s, policy.target.behavior
    ready_since_s = history.target.ready_since_s
    # What was measured is held against those that are ready only if they were all the window. Those that start changed
    # nothing yet, and in a surge there is hardly a moment without some.
    same_pods = ready_since_s is not None and now_s - ready_since_s >= window_s
    theirs = same_pods and comparable(history.demand, window_s)
    bursts = 1.0 if pace is None else lateness(history.demand, pace, window_s)
    size = sizing(policy, pace, signals, history.demand[-1].load, theirs, bursts)
    start_s = START_S if history.starts.start_s is None else history.starts.start_s
    serving = max(1, there.ready + there.starting)
    load = soon(history.demand, start_s, max(window_s, start_s / 2)).with_(likely(history.demand, start_s), max)
    load = _with_backlog(load, size, signals, serving, start_s)
    usage = size.usage(load, serving)
    asked = f"{signals.requests_per_s:.1f} requests/s, {load.requests:.1f} planned for"
    found = f"{usage.text} with {_described(there)}, {asked}{_out_of_reach(size)}"
    if usage.value > 1 and not tolerated(usage.value, behavior):
        return _more(size, load, there, policy, found, usage.value)
    fewer = _fewer(size, load, there, signals, policy)
    if fewer < there.wanted and not tolerated(size.usage(load, there.wanted).value, behavior):
        text = f"Fewer would do: {found}; with {pods(fewer)} {size.usage(load, fewer).text}."
        return Wish(fewer, usage.value, Reason("target", "ScaleDown", text))
    return Wish(there.wanted, usage.value, Reason("target", "WithinGoals", f"Held: {found}."))


def _more(size: Sizing, load: Load, there: Pods, policy: Policy, found: str, usage: float) -> Wish:
    most = policy.target.most
    trusted = size.trusting_model().least(load, most) if size.pace else max(1, there.ready)
    needed = min(size.least(load, most), max(trusted + 1, math.ceil(MOST_BEYOND * trusted)))
    if needed <= there.wanted:
        code, why = _why_not_more(there, most)
        return Wish(there.wanted, usage, Reason("target", code, f"Held: {found}; {why}."))
    text = f"More are needed: {found}; with {pods(needed)} {size.usage(load, needed).text}."
    return Wish(needed, usage, Reason("target", "ScaleUp", text))


def _why_not_more(there: Pods, most: int) -> tuple[str, str]:
    if there.wanted >= most:
        return "AtMaximum", f"maxReplicas, {most}, is reached"
    if there.starting:
        return "PodsStarting", f"{pods(there.wanted)} are asked for already"
    if there.stuck:
        return "PodsStuck", f"{pods(there.wanted)} are asked for already and {there.stuck} of them cannot start"
    return "BeyondModel", f"by the model {pods(there.wanted)} are plenty, and more would not help"


def _fewer(size: Sizing, load: Load, there: Pods, signals: Signals, policy: Policy) -> int:
    """Those that start and those that did not answer are taken as fully used, as HPA does; those stuck as not there."""
    silent = max(0, there.ready - signals.pods)
    return min(there.wanted, size.safe(load, max(policy.target.most, there.wanted)) + there.starting + silent)


def _with_backlog(load: Load, size: Sizing, signals: Signals, serving: int, start_s: float) -> Load:
    predicted = size.predict(load, serving)
    if predicted is None or predicted.utilisation <= 0:
        return load
    return with_backlog(load, queued(signals), load.requests / predicted.utilisation, start_s)


def _described(there: Pods) -> str:
    parts = [f"{there.ready} ready"]
    parts += [f"{there.starting} starting"] if there.starting else []
    parts += [f"{there.stuck} that cannot start"] if there.stuck else []
    return ", ".join(parts)


def _out_of_reach(size: Sizing) -> str:
    names = " and ".join(size.out_of_reach)
    return f" (not even an idle target keeps the goal of {names}: more pods do not help)" if names else ""
