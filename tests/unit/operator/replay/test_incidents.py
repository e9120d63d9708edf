"""What users of other autoscalers complain of: an outage of metrics, a restart in a surge, pods that never run."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from outrider_operator.autoscaling.decision import Decision
from outrider_operator.autoscaling.observation import Observation
from outrider_operator.autoscaling.policy import Bounds, Policy
from outrider_operator.autoscaling.replay.figures import figures
from outrider_operator.autoscaling.replay.fleet import FleetSpec, TargetSpec
from outrider_operator.autoscaling.replay.policies import Outrider
from outrider_operator.autoscaling.replay.sight import Sight
from outrider_operator.autoscaling.replay.simulation import Outcome, Simulation
from outrider_operator.autoscaling.replay.trace import Request
from unit.operator.replay.replays import FLEET

POLICY = Policy(target=Bounds(1, 8), draft=Bounds(0, 8), ttft_p95_s=2.0, itl_p95_s=0.05)
QUICK = replace(FLEET, target=TargetSpec(start_s=60.0))


class Span(NamedTuple):
    begin_s: float
    end_s: float

    def holds(self, now_s: float) -> bool:
        return self.begin_s <= now_s < self.end_s


# A tenth of it is enough for one target, all of it needs three at least.
SURGE = Span(600.0, 1500.0)
LENGTH_S = 3600.0
END = Span(LENGTH_S - 60, LENGTH_S)


def surge() -> list[Request]:
    """A request of 2000 and 100 tokens every two seconds, seven a second in the surge."""
    at_s, trace = 0.0, []
    while at_s < LENGTH_S:
        trace.append(Request(at_s, 2000, 100))
        at_s += 1 / 7 if SURGE.holds(at_s) else 2.0
    return trace


class Troubled:
    """The autoscaler with an outage of its metrics, or started anew at a time."""

    def __init__(self, outage: Span | None = None, restart_s: float | None = None) -> None:
        self._inner = Outrider(POLICY)
        self._outage = outage
        self._restart_s = restart_s
        self.tick_s = self._inner.tick_s
        self.decided: dict[float, Decision] = {}

    def decide(self, sight: Sight, now_s: float) -> Decision:
        if self._restart_s is not None and now_s >= self._restart_s:
            self._inner, self._restart_s = Outrider(POLICY, started_s=now_s), None
        if self._outage is not None and self._outage.holds(now_s):

            def blind() -> Observation:
                return replace(sight.observe(), signals=None)

            self.decided[now_s] = self._inner.decide(replace(sight, observe=blind), now_s)
        else:
            self.decided[now_s] = self._inner.decide(sight, now_s)
        return self.decided[now_s]


def replayed(scaler: Troubled, fleet: FleetSpec = QUICK) -> Outcome:
    return Simulation(surge(), fleet, scaler, start=1, seed=1).run()


def targets(scaler: Troubled, span: Span) -> list[int]:
    return [made.target_replicas for at_s, made in scaler.decided.items() if span.holds(at_s)]


def test_a_surge_is_followed_up_and_down() -> None:
    scaler = Troubled()
    of = figures(replayed(scaler), FLEET.slo)
    assert of.targets_most >= 3
    assert set(targets(scaler, Span(0, 600))) == {1}
    assert targets(scaler, END)[-1] == 1
    assert of.unended == 0


def test_an_outage_of_metrics_is_not_taken_for_idleness() -> None:
    outage = Span(1200.0, 1500.0)
    scaler = Troubled(outage=outage)
    replayed(scaler)
    held = targets(scaler, outage)
    before = targets(scaler, Span(0, 1200))[-1]
    assert before >= 3
    assert held == [before] * len(held)
    blind = scaler.decided[1350.0]
    assert {reason.code for reason in blind.reasons if reason.role == "target"} == {"NoMetrics"}


def test_an_operator_that_restarts_in_a_surge_takes_nothing_away_until_it_has_seen_a_window() -> None:
    scaler = Troubled(restart_s=1200.0)
    replayed(scaler)
    before = targets(scaler, Span(0, 1200))[-1]
    after = targets(scaler, Span(1200, 1500))
    assert min(after) >= before
    assert targets(scaler, END)[-1] < before, "and then it goes on as ever"


def test_one_that_restarts_after_the_surge_waits_for_a_window_too() -> None:
    scaler = Troubled(restart_s=1560.0)
    replayed(scaler)
    before = targets(scaler, Span(0, 1560))[-1]
    assert before >= 3
    assert min(targets(scaler, Span(1560, 1560 + 285))) == before
    assert targets(scaler, END)[-1] < before


def test_pods_that_never_run_do_not_freeze_scale_down() -> None:
    """GPUs for two targets and a draft: what the surge asks for beyond stays pending."""
    scaler = Troubled()
    of = figures(replayed(scaler, replace(QUICK, gpus=9)), FLEET.slo)
    assert of.targets_most == 2
    assert targets(scaler, END)[-1] == 1
    assert of.unended == 0
