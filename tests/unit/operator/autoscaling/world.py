"""A fleet whose pods do what the estimate says of them: they take their time to start, load comes and goes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from outrider_operator.autoscaling.decide import decide
from outrider_operator.autoscaling.decision import Decision
from outrider_operator.autoscaling.estimate import Load, Pace
from outrider_operator.autoscaling.history import History
from outrider_operator.autoscaling.observation import DraftTime, Observation, Pods, Signals, StepTime
from outrider_operator.autoscaling.policy import Bounds, Policy

TICK_S = 15.0
WINDOW_S = 60.0
# A 70B-class target and a 1B draft.
STEP = StepTime(((1, 0.02015), (512, 0.0968)), prefill_token_s=1 / 8000)
LEVEL = DraftTime(0.0015, 0.00002)
ACCEPTED = (0.8, 0.64, 0.51, 0.41)
PACE = Pace(STEP, 64, LEVEL, 1.0, ACCEPTED, 1.0, 8)
POLICY = Policy(Bounds(1, 12), Bounds(0, 4), ttft_p95_s=2.0, itl_p95_s=0.05, drafts_per_target=0.25)
# 1,000 tokens of prompt and 200 of answer a request.
CHAT = Load(1.0, 1000.0, 200.0)


def chat(requests_per_s: float) -> Load:
    return CHAT.times(requests_per_s)


def signals(load: Load = CHAT, pods: int = 2, **others: object) -> Signals:
    """What two idle-ish targets with drafts would tell."""
    told = Signals(
        window_s=WINDOW_S,
        pods=pods,
        requests_per_s=load.requests,
        prompt_tokens_per_s=load.prompt_tokens,
        generated_tokens_per_s=load.generated_tokens,
        running=4.0,
        waiting=0.0,
        kv_usage=0.1,
        max_sequences=64,
        step_time=STEP,
        draft_time=LEVEL,
        path_acceptance=ACCEPTED,
    )
    return replace(told, **others)  # type: ignore[arg-type]


def observation(told: Signals | None, targets: int = 2, drafts: int = 1, speculating: bool = True) -> Observation:
    return Observation(Pods(targets, targets), Pods(drafts, drafts), speculating, told)


@dataclass
class World:
    """Time, pods and the decisions so far. start_s, draft_start_s: of a pod; nodes: for how many
    targets there is a place; others stay pending and count as stuck after a while.
    """

    policy: Policy = POLICY
    start_s: float = 180.0
    draft_start_s: float = 30.0
    nodes: int = 1000
    accepted: tuple[float, ...] = ACCEPTED
    targets: list[float] = field(default_factory=lambda: [0.0])  # when each is ready
    drafts: list[float] = field(default_factory=lambda: [0.0])
    told: bool = True
    now_s: float = 0.0
    waiting: float = 0.0
    history: History = field(default_factory=lambda: History(0.0))
    seen: list[tuple[float, Observation, Decision]] = field(default_factory=list)

    def run(
        self, seconds: float, load: Load, change: Callable[[Observation], Observation] = lambda seen: seen
    ) -> list[Decision]:
        """So long under one load; gives the decisions. change: what is seen instead of what is."""
        until_s, decisions = self.now_s + seconds, []
        while self.now_s < until_s:
            seen = change(self.observe(load))
            decision, self.history = decide(seen, self.policy, self.history, self.now_s)
            self.seen.append((self.now_s, seen, decision))
            decisions.append(decision)
            self.apply(decision)
            self.now_s += TICK_S
        return decisions

    def restart(self) -> None:
        """Another process takes over: it remembers nothing."""
        self.history = History(self.now_s)

    def apply(self, decision: Decision) -> None:
        """As the Deployments do: new pods at the end, removed from there too, those that are not ready first."""
        for pods, wanted, start_s in (
            (self.targets, decision.target_replicas, self.start_s),
            (self.drafts, decision.draft_replicas, self.draft_start_s),
        ):
            del pods[max(wanted, 0) :]
            pods.extend([self.now_s + start_s] * (wanted - len(pods)))
        self.told = decision.speculate

    def observe(self, load: Load) -> Observation:
        placed, stuck = self.targets[: self.nodes], self.targets[self.nodes :]
        ready = sum(at_s <= self.now_s for at_s in placed)
        pending_s = self.now_s + self.start_s - 600
        lost = sum(at_s <= pending_s for at_s in stuck)
        drafts_ready = sum(at_s <= self.now_s for at_s in self.drafts)
        return Observation(
            Pods(len(self.targets), ready, len(self.targets) - ready - lost, lost),
            Pods(len(self.drafts), drafts_ready, len(self.drafts) - drafts_ready),
            self.told,
            self.measured(load, ready, drafts_ready),
        )

    def measured(self, load: Load, ready: int, drafts: int) -> Signals | None:
        """What would be measured: more load than the targets can do waits."""
        if not ready:
            return None
        drafting = self.told and drafts > 0
        pace = replace(PACE, path_acceptance=self.accepted, targets_per_draft=ready / drafts if drafting else None)
        predicted = pace.predict(load.over(ready))
        served = min(1.0, 1 / max(predicted.utilisation, 1e-9))
        self.waiting = max(0.0, self.waiting + load.requests * (1 - 1 / max(predicted.utilisation, 1e-9)) * TICK_S)
        queued_s = self.waiting / max(load.requests * served, 1e-9)
        full = pace.best(64)
        overloaded = predicted.utilisation >= 1
        return signals(
            load,
            ready,
            prompt_tokens_per_s=load.prompt_tokens * served,
            generated_tokens_per_s=load.generated_tokens * served,
            running=predicted.batch * ready,
            waiting=self.waiting,
            kv_usage=predicted.batch / 100,
            draft_time=LEVEL if drafts else None,
            path_acceptance=self.accepted if drafting else (),
            gain=pace.gain(predicted.batch),
            ttft_p95_s=None if not load.requests else queued_s + (1.0 if overloaded else predicted.ttft_p95_s),
            itl_p95_s=None if not load.requests else full.step_s if overloaded else predicted.itl_p95_s,
            draft_wait_share=0.0 if drafting else None,
            draft_busy=0.5 if drafting else None,
        )

    def counts(self, since_s: float = 0.0) -> list[int]:
        """Targets decided on, tick by tick."""
        return [decision.target_replicas for at_s, _, decision in self.seen if at_s >= since_s]

    def reasons(self, role: str, since_s: float = 0.0) -> set[str]:
        """Codes of all reasons of a role."""
        return {
            reason.code
            for at_s, _, decision in self.seen
            if at_s >= since_s
            for reason in decision.reasons
            if reason.role == role
        }


def directions(counts: list[int]) -> list[int]:
    """1 for each step up, -1 for each step down, in order."""
    return [1 if after > before else -1 for before, after in itertools.pairwise(counts) if after != before]
