"""What is decided becomes processes, and what the targets are told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest
from outrider_operator.autoscaling.asked import Asked
from outrider_operator.autoscaling.decision import Decision, Reason
from outrider_operator.autoscaling.history import History
from outrider_operator.autoscaling.observation import Observation, Pods
from outrider_operator.autoscaling.policy import Bounds, Policy
from outrider_operator.autoscaling.report import Change
from outrider_operator.local import autoscale
from outrider_operator.local.autoscale import Autoscaler
from outrider_operator.local.role import Phase, Role, RoleStatus
from outrider_operator.measure.scrape import Scrape

POLICY = Policy(target=Bounds(1, 3), draft=Bounds(0, 2))
ASKED = Asked(POLICY, frozenset({"target", "draft"}), advisory=False, paused=False, drafts=True)
READY, LOADING = RoleStatus(Phase.READY, run=1), RoleStatus(Phase.LOADING, run=1)


@dataclass(eq=False)
class Process:
    """As much of a Role as is looked at."""

    status: RoleStatus = READY
    unready_since_s: float | None = None


class Fake:
    """Processes and what they say of themselves, and decisions that are laid out before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, file: Path, asked: Asked = ASKED) -> None:
        self.roles = {"target": [Process()], "draft": [Process()]}
        self.allowed = 1.0
        self.changes: list[Change] = []
        self.seen: list[Observation] = []
        self.decided()
        self.file = file
        self.now_s = 100.0
        monkeypatch.setattr(autoscale, "decide", self._decide)
        self.autoscaler = Autoscaler(asked, POLICY, self, self, file, self.changes.append, self.now_s)

    def _decide(
        self, observation: Observation, policy: Policy, history: History, now_s: float
    ) -> tuple[Decision, History]:
        assert (policy, now_s) == (POLICY, self.now_s)
        self.seen.append(observation)
        return self.decision, history

    def staying(self, role: str) -> list[Role]:
        return cast("list[Role]", list(self.roles[role]))

    def scale(self, role: str, replicas: int) -> None:
        there = self.roles[role]
        self.roles[role] = there[:replicas] + [Process(LOADING, self.now_s) for _ in range(replicas - len(there))]

    def readings(self, role: str) -> list[list[Scrape]]:
        values = {"speculation_allowed": self.allowed}
        return [[Scrape(at_s, 1, values) for at_s in (self.now_s - 1, self.now_s)] for _ in self.roles[role]]

    def decided(self, target: int = 1, draft: int = 1, speculate: bool = True) -> None:
        """From the next time on."""
        busy, idle = Reason("target", "Busy", "so busy"), Reason("draft", "Idle", "so idle")
        self.decision = Decision(target, draft, speculate, (busy, idle))

    def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_s += 1
            self.autoscaler.look(self.now_s)

    def counts(self) -> tuple[int, int]:
        return len(self.roles["target"]), len(self.roles["draft"])

    def told(self) -> str | None:
        return self.file.read_text() if self.file.exists() else None


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fake:
    return Fake(monkeypatch, tmp_path / "control" / "speculation")


def test_it_decides_as_often_as_the_operator(fake: Fake) -> None:
    fake.pass_s(14)
    assert len(fake.seen) == 0
    fake.pass_s(31)
    assert len(fake.seen) == 3


def test_what_is_decided_is_done_and_told_once_with_its_reason(fake: Fake) -> None:
    fake.decided(target=3, draft=2)
    fake.pass_s(45)
    assert fake.counts() == (3, 2)
    assert fake.changes == [Change("target", 1, 3, "Busy", "so busy"), Change("draft", 1, 2, "Idle", "so idle")]
    assert fake.told() is None
    fake.decided(target=2, draft=2)
    fake.pass_s(15)
    assert fake.counts() == (2, 2)
    assert fake.changes[2:] == [Change("target", 3, 2, "Busy", "so busy")]
    newest = fake.autoscaler.decisions[0]
    assert (newest["role"], newest["from"], newest["to"], newest["reason"]) == ("target", 3, 2, "Busy")


def test_advice_is_told_once_and_nothing_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = Fake(monkeypatch, tmp_path / "speculation", replace(ASKED, advisory=True))
    fake.decided(target=2, draft=0, speculate=False)
    fake.pass_s(60)
    assert fake.counts() == (1, 1)
    assert fake.told() is None
    assert [(each.role, each.after) for each in fake.changes] == [("target", 2), ("draft", 0), ("speculation", 0)]


def test_a_role_that_is_not_scaled_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = Fake(monkeypatch, tmp_path / "speculation", replace(ASKED, roles=frozenset({"target"})))
    fake.decided(target=2, draft=2)
    fake.pass_s(15)
    assert fake.counts() == (2, 1)


def test_targets_are_told_at_once_and_the_last_draft_ends_when_they_have_heard(fake: Fake) -> None:
    fake.decided(draft=0, speculate=False)
    fake.pass_s(30)
    assert (fake.told(), fake.counts()) == ("off", (1, 1))
    assert [observation.speculating for observation in fake.seen] == [True, False]
    fake.allowed = 0.0
    fake.pass_s(15)
    assert fake.counts() == (1, 0)
    assert [change.role for change in fake.changes] == ["speculation", "draft"]


def test_a_target_that_does_not_answer_keeps_a_draft_for_little_more_than_two_minutes(fake: Fake) -> None:
    fake.decided(draft=0, speculate=False)
    fake.pass_s(15 + 120)
    assert fake.counts() == (1, 1)
    fake.pass_s(15)
    assert fake.counts() == (1, 0)


def test_what_could_not_be_told_on_a_full_disk_is_decided_again(fake: Fake) -> None:
    fake.decided(draft=0, speculate=False)
    fake.file.parent.touch()  # a folder that cannot be made
    fake.pass_s(15)
    assert fake.changes == []
    fake.file.parent.unlink()
    fake.pass_s(15)
    assert (fake.told(), [change.role for change in fake.changes]) == ("off", ["speculation"])


def test_drafting_begins_again_when_a_draft_is_ready(fake: Fake) -> None:
    fake.decided(draft=0, speculate=False)
    fake.allowed = 0.0
    fake.pass_s(30)
    fake.decided(draft=1)
    fake.pass_s(30)
    assert (fake.told(), fake.counts()) == ("off", (1, 1))
    [draft] = fake.roles["draft"]
    draft.status = READY
    fake.pass_s(15)
    assert fake.told() == "on"


def test_what_was_read_once_is_not_decided_by(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "readings", lambda _: [[Scrape(fake.now_s, 1)]])
    fake.pass_s(30)
    assert fake.seen == []


def test_without_a_target_that_answers_it_is_said_that_nothing_is_known(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "readings", lambda _: [])
    fake.pass_s(15)
    assert [observation.signals for observation in fake.seen] == [None]


def test_processes_are_counted_as_the_operator_counts_pods(fake: Fake) -> None:
    fake.roles["target"] = [
        Process(),
        Process(LOADING, fake.now_s),
        Process(RoleStatus(Phase.WAITING, run=2), fake.now_s),
        Process(RoleStatus(Phase.WAITING, run=9), fake.now_s - 600),
        Process(RoleStatus(Phase.FAILED, run=1), fake.now_s),
        Process(LOADING, fake.now_s - 3600),
    ]
    fake.pass_s(15)
    assert fake.seen[0].target == Pods(wanted=6, ready=1, starting=2, stuck=3)
    assert fake.seen[0].draft == Pods(wanted=1, ready=1)
