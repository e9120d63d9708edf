"""Tiny traces, and policies that do what a test says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from outrider_operator.autoscaling.decision import Decision
from outrider_operator.autoscaling.observation import Signals
from outrider_operator.autoscaling.replay.fleet import Acceptance, DraftSpec, FleetSpec, TargetSpec
from outrider_operator.autoscaling.replay.sight import Sight
from outrider_operator.autoscaling.replay.simulation import Outcome, Simulation
from outrider_operator.autoscaling.replay.trace import Request

FLEET = FleetSpec()
# Prompts are read at once, so that only answers take time.
READS_AT_ONCE = replace(FLEET, target=TargetSpec(prefill_tokens_per_s=1e12), draft=DraftSpec(prefill_tokens_per_s=1e18))


class Scripted:
    """At each of its times (targets, drafts, speculate) from then on. seen, signals: what it was shown, by time."""

    tick_s = 15.0

    def __init__(self, *steps: tuple[float, int, int, bool]) -> None:
        self._steps = steps
        self.seen: dict[float, Sight] = {}
        self.signals: dict[float, Signals | None] = {}

    def decide(self, sight: Sight, now_s: float) -> Decision:
        self.seen[now_s] = sight
        self.signals[now_s] = sight.observe().signals
        _, targets, drafts, speculate = [step for step in self._steps if step[0] <= now_s][-1]
        return Decision(targets, drafts, speculate, ())


def steady(targets: int, drafts: int = 0, speculate: bool = True) -> Scripted:
    return Scripted((0.0, targets, drafts, speculate))


def same(count: int, prompt_tokens: int, generated_tokens: int, every_s: float = 0.0) -> list[Request]:
    """Requests one after another, or all at once."""
    return [Request(index * every_s, prompt_tokens, generated_tokens) for index in range(count)]


def replayed(
    trace: Sequence[Request], scaler: Scripted, fleet: FleetSpec = FLEET, start: int = 1, seed: int = 1
) -> Outcome:
    return Simulation(trace, fleet, scaler, start, seed).run()


def accepting(share: float, after: float | None = None, fleet: FleetSpec = FLEET) -> FleetSpec:
    return replace(fleet, acceptance=Acceptance(share, after))
