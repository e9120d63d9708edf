"""One trace and one fleet, replayed with one policy after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from outrider_operator.autoscaling.policy import Policy
from outrider_operator.autoscaling.replay.figures import Figures, figures
from outrider_operator.autoscaling.replay.fleet import FleetSpec
from outrider_operator.autoscaling.replay.hpa import Hpa
from outrider_operator.autoscaling.replay.kpa import Kpa
from outrider_operator.autoscaling.replay.policies import TICK_S, Fixed, Outrider, Then
from outrider_operator.autoscaling.replay.sight import Scaler
from outrider_operator.autoscaling.replay.simulation import Outcome, Simulation, drift_s
from outrider_operator.autoscaling.replay.trace import Request

# Attainments so near to each other are taken as equal when the cheaper of two policies is looked for.
AS_GOOD = 0.005


@dataclass(frozen=True)
class Result:
    """What one policy made of it. setting: what it was run with, in a word or two."""

    policy: str
    setting: str
    outcome: Outcome
    figures: Figures


@dataclass(frozen=True)
class Contest:
    """policy: the bounds that all policies keep, and what Outrider's own is told. start: targets at the beginning.
    told: called with the policy and the share of its replay that is over.
    """

    trace: Sequence[Request]
    fleet: FleetSpec
    policy: Policy
    start: int
    seed: int
    told: Callable[[str, float], None] | None = None

    def outrider(self) -> Result:
        return self._run("outrider", "SLO", Outrider(self.policy), self.start)

    def hpa(self, goal: float) -> Result:
        """goal: of a pod's sequences, the share that is to be in use."""
        return self._run("hpa", f"goal {100 * goal:g} %", Hpa(self._requests(goal), self.policy.target), self.start)

    def kpa(self, goal: float) -> Result:
        """goal: of a pod's sequences, the share that is to be in use."""
        bounds = self.policy.target
        return self._run(
            "kpa", f"goal {100 * goal:g} %", Kpa(self._requests(goal), bounds.least, bounds.most), self.start
        )

    def fixed(self, replicas: int) -> Result:
        setting = "1 target" if replicas == 1 else f"{replicas} targets"
        return self._run("fixed", setting, Fixed(replicas), replicas)

    def best_fixed(self, slo: float) -> Result:
        """In hindsight: the fewest targets that reach such an attainment; where none does, the fewest that reach the
        best there is.
        """
        return self._fewest(slo, self.policy.target.least, self.fixed)

    def at_once(self, replicas: int) -> Result:
        """From the same start as the policies, and so many asked for at the first look: nothing has them sooner."""
        setting = "1 target at once" if replicas == 1 else f"{replicas} targets at once"
        return self._run("at_once", setting, Fixed(replicas), self.start)

    def best_at_once(self, slo: float) -> Result:
        """In hindsight: what best_fixed is, had it to start its pods as the policies have."""
        return self._fewest(slo, self.start, self.at_once)

    def at_fall(self) -> Result:
        """Outrider until acceptance falls, and at its last look before that all targets asked for: who does not know of
        the fall has no more of them after it.
        """
        most = self.policy.target.most
        scaler = Then(Outrider(self.policy), Fixed(most), drift_s(self.trace) - TICK_S)
        return self._run("at_fall", f"{most} targets from the fall on", scaler, self.start)

    def _fewest(self, slo: float, least: int, run: Callable[[int], Result]) -> Result:
        """More targets are taken never to be worse."""
        low, high = least, self.policy.target.most
        best = run(high)
        wanted = min(slo, best.figures.slo)
        while low < high:
            middle = (low + high) // 2
            tried = run(middle)
            if tried.figures.slo >= wanted:
                best, high = tried, middle
            else:
                low = middle + 1
        return best

    def _requests(self, share: float) -> float:
        return share * self.fleet.target.max_sequences

    def _run(self, policy: str, setting: str, scaler: Scaler, start: int) -> Result:
        progress = None if self.told is None else partial(self.told, f"{policy}, {setting}")
        outcome = Simulation(self.trace, self.fleet, scaler, start, self.seed).run(progress)
        return Result(policy, setting, outcome, figures(outcome, self.fleet.slo))


def best_of(results: Sequence[Result]) -> Result:
    """The best attainment, and of those as good the cheapest: how a policy is set by somebody who knows the trace."""
    most = max(result.figures.slo for result in results)
    return min(
        (result for result in results if result.figures.slo >= most - AS_GOOD), key=lambda each: each.figures.gpu_hours
    )
