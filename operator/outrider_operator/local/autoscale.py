"""The slow loop, on this machine: what the operator would decide, carried out by starting and ending processes."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from outrider_operator.autoscaling import timing
from outrider_operator.autoscaling.asked import Asked
from outrider_operator.autoscaling.decide import decide
from outrider_operator.autoscaling.decision import Decision, Subject
from outrider_operator.autoscaling.history import History
from outrider_operator.autoscaling.observation import Observation, Pods
from outrider_operator.autoscaling.policy import Policy
from outrider_operator.autoscaling.report import Change, advised, change, entries
from outrider_operator.autoscaling.signals import signals, speaking
from outrider_operator.autoscaling.steps import replicas_of, steps, wanted
from outrider_operator.local.files import try_replace_file
from outrider_operator.local.role import Phase, Role
from outrider_operator.measure.scrape import Scrape
from outrider_operator.resources.control import OFF, ON
from outrider_operator.resources.pod import LOADING_MINUTES, Object

LONGEST_START_S = LOADING_MINUTES * 60
# Of a process that has ended before: what it fetches is there.
LONGEST_RESTART_S = 300.0


class Processes(Protocol):
    """Whose number is set."""

    def staying(self, role: str) -> list[Role]: ...

    def scale(self, role: str, replicas: int) -> None: ...


class Measurements(Protocol):
    """What the processes say of themselves."""

    def readings(self, role: str) -> Sequence[Sequence[Scrape]]: ...


class Autoscaler:
    """Decides as often as the operator does."""

    def __init__(
        self,
        asked: Asked,
        policy: Policy,
        processes: Processes,
        measurements: Measurements,
        speculation_file: Path,
        on_change: Callable[[Change], None],
        now_s: float,
    ) -> None:
        """policy: that of `asked`. speculation_file: what the targets are told. now_s: of a monotonic clock, as
        everywhere here.
        """
        self.decisions: list[Object] = []  # the last, as in the status of a model in a cluster
        self._asked = asked
        self._policy = policy
        self._processes = processes
        self._measurements = measurements
        self._speculation_file = speculation_file
        self._on_change = on_change
        self._history = History(now_s)
        self._next_s = now_s + timing.TICK_S
        self._told_off_s: float | None = None  # since when targets may not speculate; None while they may

    def look(self, now_s: float) -> None:
        """Decides, where it is time to, and does it. In mode Advisory it is only told."""
        if now_s < self._next_s:
            return
        self._next_s = now_s + timing.TICK_S
        observation = self._observe(now_s)
        if observation.signals is None and any(self._measurements.readings("target")):
            return  # read once: how much has grown is known at the next tick
        decision, self._history = decide(observation, self._policy, self._history, now_s)
        if self._asked.advisory:
            self._advise(decision, observation)
        else:
            self._carry_out(decision, observation, now_s)

    def _observe(self, now_s: float) -> Observation:
        return Observation(
            target=_pods(self._processes.staying("target"), now_s),
            draft=_pods(self._processes.staying("draft"), now_s),
            speculating=self._told_off_s is None,
            signals=signals(self._measurements.readings("target"), self._measurements.readings("draft")),
        )

    def _carry_out(self, decision: Decision, seen: Observation, now_s: float) -> None:
        todo = steps(decision, seen, self._asked, self._is_silent(now_s))
        speculate = todo.speculate
        # What cannot be written is decided again at the next tick.
        if speculate is not None and try_replace_file(self._speculation_file, ON if speculate else OFF):
            self._tell(change(decision, "speculation", int(seen.speculating), int(speculate)))
            self._told_off_s = None if speculate else now_s
        for role, replicas in todo.replicas.items():
            self._tell(change(decision, role, replicas_of(seen, role), replicas))
            self._processes.scale(role, replicas)

    def _advise(self, decision: Decision, seen: Observation) -> None:
        """Tells of what would be changed, once."""
        decided: dict[Subject, int] = {}
        there: dict[Subject, int] = {}
        for role, replicas in wanted(decision, self._asked, seen.others).items():
            decided[role], there[role] = replicas, replicas_of(seen, role)
        if self._asked.gated:
            decided["speculation"], there["speculation"] = int(decision.speculate), int(seen.speculating)
        for subject, before in advised(self.decisions, decided, there).items():
            self._tell(change(decision, subject, before, decided[subject]))

    def _tell(self, made: Change) -> None:
        self.decisions = entries(self.decisions, [made], datetime.now(UTC))
        self._on_change(made)

    def _is_silent(self, now_s: float) -> bool:
        """Whether no target asks a draft any more: all say so, or were told long ago."""
        if self._told_off_s is None:
            return False
        said = speaking(self._measurements.readings("target"))
        return (said.targets > 0 and said.allowed == 0) or now_s - self._told_off_s > timing.TOLD_S


def _pods(roles: Sequence[Role], now_s: float) -> Pods:
    """A role as the operator counts its pods."""
    ready = sum(role.status.phase is Phase.READY for role in roles)
    stuck = sum(_is_stuck(role, now_s) for role in roles)
    return Pods(wanted=len(roles), ready=ready, starting=len(roles) - ready - stuck, stuck=stuck)


def _is_stuck(role: Role, now_s: float) -> bool:
    """It refused its input, or has not been ready for longer than any start takes."""
    waiting_s = 0.0 if role.unready_since_s is None else now_s - role.unready_since_s
    longest_s = LONGEST_START_S if role.status.run <= 1 else LONGEST_RESTART_S
    return role.status.phase is Phase.FAILED or waiting_s > longest_s
