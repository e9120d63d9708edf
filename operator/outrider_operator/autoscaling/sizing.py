"""How full targets are, as shares of what they are meant to be: the model's figures and the measured ones. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from outrider_operator.autoscaling.estimate import Load, Pace, Predicted, correction
from outrider_operator.autoscaling.observation import Signals
from outrider_operator.autoscaling.policy import Policy
from outrider_operator.autoscaling.words import percent, seconds

# Of what a target can do at most. Above it queues grow faster than the load, and a burst of a minute has no room; the
# tolerance of HPA comes on top, so that 0.88 of a target's most is where another one is asked for.
GOAL_UTILISATION = 0.8
# Places and blocks are whole: the last tenth goes to and fro as requests come and end.
GOAL_BATCH = 0.9
GOAL_KV = 0.9
# Where no goal for the first token was given, those who wait should get their turn in so long.
DEFAULT_DRAIN_S = 10.0
# Scale-down has to leave this share of every goal; of utilisation's, which is no limit but a choice, a little more:
# 0.72 of a target's most.
AFTER_REMOVAL = 0.8
UTILISATION_AFTER_REMOVAL = 0.9
# A share of the load so small that nobody waits.
IDLE = 1e-6


@dataclass(frozen=True)
class Usage:
    """One figure over its goal: more than 1 is too much. after_removal: what it may be where a target is taken away.
    text: the figure and its goal.
    """

    value: float
    after_removal: float
    text: str


@dataclass(frozen=True)
class Latency:
    """One goal. idle_s: of an idle target, by the model. measured_s: None where it is not known or not of these pods.
    factor: what predictions are multiplied by.
    """

    name: str
    goal_s: float
    idle_s: float = 0.0
    measured_s: float | None = None
    factor: float = 1.0

    def usage(self, value_s: float) -> Usage:
        """Over the goal; where an idle target already has most of it, over the room that is left: else a fleet with a
        tight goal would grow and never shrink.
        """
        free_s = self.idle_s if self.idle_s > AFTER_REMOVAL * self.goal_s else 0.0
        text = f"{self.name} p95 {seconds(value_s)} of {seconds(self.goal_s)}"
        return Usage((value_s - free_s) / (self.goal_s - free_s), AFTER_REMOVAL, text)


@dataclass(frozen=True)
class Sizing:
    """Judges numbers of targets under a load. pace: None while no target has told its step times; then figures are
    taken to fall as pods are added. out_of_reach: goals that an idle target does not keep either; more targets do not
    help, so nothing follows these.
    """

    pace: Pace | None
    signals: Signals
    ttft: Latency | None
    itl: Latency | None
    out_of_reach: tuple[str, ...] = ()

    def usage(self, load: Load, targets: int) -> Usage:
        """The largest figure over its goal."""
        return max(self._usages(load, targets), key=lambda usage: usage.value)

    def least(self, load: Load, most: int) -> int:
        """The fewest targets that keep all goals, or the most."""
        return _least(most, lambda targets: self.usage(load, targets).value <= 1)

    def safe(self, load: Load, most: int) -> int:
        """The fewest to which one may go down, or the most."""
        return _least(
            most, lambda targets: all(usage.value <= usage.after_removal for usage in self._usages(load, targets))
        )

    def trusting_model(self) -> Sizing:
        """The same without what was measured of latencies."""
        ttft, itl = (goal and replace(goal, measured_s=None, factor=1.0) for goal in (self.ttft, self.itl))
        return replace(self, ttft=ttft, itl=itl)

    def predict(self, load: Load, targets: int) -> Predicted | None:
        """One target's steady state by the model."""
        return self.pace.predict(load.over(targets)) if self.pace else None

    def _usages(self, load: Load, targets: int) -> list[Usage]:
        predicted = self.predict(load, targets)
        if predicted is None:
            return [*self._shared(targets), *self._measured(targets)]
        text = f"utilisation {percent(predicted.utilisation)} of a goal of {percent(GOAL_UTILISATION)}"
        usages = [
            Usage(predicted.utilisation / GOAL_UTILISATION, UTILISATION_AFTER_REMOVAL, text),
            *self._shared(targets),
        ]
        if predicted.utilisation >= 1:
            return usages
        for goal, value_s in ((self.ttft, predicted.ttft_p95_s), (self.itl, predicted.itl_p95_s)):
            if goal is not None:
                # As many or fewer are not faster than these are.
                measured_s = goal.measured_s if goal.measured_s and targets <= self.signals.pods else 0.0
                usages.append(goal.usage(max(value_s * goal.factor, measured_s)))
        return usages

    def _shared(self, targets: int) -> list[Usage]:
        """What more targets share out evenly: places and KV blocks. Whoever waits has as good as taken a place: it is
        free for a moment only, between one request and the next.
        """
        signals = self.signals
        share = signals.pods / targets
        places = signals.pods * signals.max_sequences
        batch = min(1.0, (signals.running + signals.waiting) / places) * share if places else 0.0
        kv = signals.kv_usage * share
        return [
            Usage(batch / GOAL_BATCH, AFTER_REMOVAL, f"{percent(batch)} of the places taken"),
            Usage(kv / GOAL_KV, AFTER_REMOVAL, f"{percent(kv)} of the KV pool held"),
        ]

    def _measured(self, targets: int) -> list[Usage]:
        """Without a model: the queue, and latencies as if they were shared out too."""
        signals = self.signals
        share = signals.pods / targets
        drain_s = signals.waiting / signals.requests_per_s if signals.requests_per_s > 0 else 0.0
        goal_s = self.ttft.goal_s if self.ttft else DEFAULT_DRAIN_S
        text = f"{signals.waiting:.0f} waiting, {seconds(drain_s)} of arrivals"
        latencies = [goal for goal in (self.ttft, self.itl) if goal is not None and goal.measured_s is not None]
        return [
            Usage(drain_s / goal_s * share, AFTER_REMOVAL, text),
            *(goal.usage((goal.measured_s or 0.0) * share) for goal in latencies),
        ]


def sizing(policy: Policy, pace: Pace | None, signals: Signals, load: Load, theirs: bool, bursts: float) -> Sizing:
    """By what was measured under the measured load. theirs: the latencies are owed to these pods and this load alone,
    and correct the model; where they are not, TTFT is corrected by what it has been lately (bursts), to more only.
    """
    ttft = None if policy.ttft_p95_s is None else Latency("TTFT", policy.ttft_p95_s, measured_s=signals.ttft_p95_s)
    itl = None if policy.itl_p95_s is None else Latency("ITL", policy.itl_p95_s, measured_s=signals.itl_p95_s)
    if pace is None:
        return Sizing(None, signals, ttft, itl)
    idle, now = pace.predict(load.times(IDLE)), pace.predict(load.over(signals.pods))
    ttft = ttft and _calibrated(ttft, idle.ttft_p95_s, now.ttft_p95_s, theirs)
    if ttft and not theirs:
        ttft = replace(ttft, factor=max(1.0, bursts))
    itl = itl and _calibrated(itl, idle.itl_p95_s, now.itl_p95_s, theirs)
    if itl and theirs and signals.itl_mean_s is not None:
        # The goal is for requests. Gaps of one request even out, so their own p95 says less of it than their mean.
        itl = replace(itl, measured_s=None, factor=correction(signals.itl_mean_s, now.itl_s))
    beyond = tuple(goal.name for goal in (ttft, itl) if goal and goal.idle_s >= goal.goal_s)
    return Sizing(
        pace,
        signals,
        None if ttft and ttft.name in beyond else ttft,
        None if itl and itl.name in beyond else itl,
        beyond,
    )


def _calibrated(goal: Latency, idle_s: float, predicted_s: float, theirs: bool) -> Latency:
    measured_s = goal.measured_s if theirs else None
    return replace(goal, idle_s=idle_s, measured_s=measured_s, factor=correction(measured_s, predicted_s))


def _least(most: int, enough: Callable[[int], bool]) -> int:
    """The least number from 1 that is enough, or the most; what is enough stays so with more."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high
