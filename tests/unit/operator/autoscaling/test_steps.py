"""What is done about a decision, in which order: no target waits for a draft that is gone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from outrider_operator.autoscaling.asked import Asked
from outrider_operator.autoscaling.decision import Decision
from outrider_operator.autoscaling.observation import Observation, Pods
from outrider_operator.autoscaling.policy import Bounds, Policy
from outrider_operator.autoscaling.steps import Steps, steps

BOTH = Asked(
    policy=Policy(target=Bounds(1, 4), draft=Bounds(0, 4)),
    roles=frozenset({"target", "draft"}),
    advisory=False,
    paused=False,
    drafts=True,
)
BUSY = Observation(target=Pods(2, 2), draft=Pods(1, 1), speculating=True, signals=None)


def decided(target: int = 2, draft: int = 1, speculate: bool = True) -> Decision:
    return Decision(target, draft, speculate, ())


def test_what_is_as_decided_is_left_alone() -> None:
    assert steps(decided(), BUSY, BOTH, silent=False) == Steps()


def test_both_roles_change_at_once() -> None:
    assert steps(decided(3, 2), BUSY, BOTH, silent=False).replicas == {"target": 3, "draft": 2}


def test_the_last_draft_goes_when_the_targets_have_stopped_asking() -> None:
    away = decided(draft=0, speculate=False)
    assert steps(away, BUSY, BOTH, silent=False) == Steps({}, speculate=False)
    told = replace(BUSY, speculating=False)
    assert steps(away, told, BOTH, silent=False) == Steps()
    assert steps(away, told, BOTH, silent=True) == Steps({"draft": 0})


def test_fewer_drafts_but_some_need_no_silence() -> None:
    several = replace(BUSY, draft=Pods(3, 3))
    assert steps(decided(draft=1), several, BOTH, silent=False) == Steps({"draft": 1})


def test_targets_ask_again_when_a_draft_answers() -> None:
    gone = replace(BUSY, draft=Pods(0, 0), speculating=False)
    assert steps(decided(), gone, BOTH, silent=True) == Steps({"draft": 1})
    starting = replace(gone, draft=Pods(1, 0, starting=1))
    assert steps(decided(), starting, BOTH, silent=True) == Steps()
    ready = replace(gone, draft=Pods(1, 1))
    assert steps(decided(), ready, BOTH, silent=True) == Steps({}, speculate=True)


def test_a_draft_that_is_decided_away_is_not_asked_whatever_else_is_decided() -> None:
    assert steps(decided(draft=0, speculate=True), BUSY, BOTH, silent=False) == Steps({}, speculate=False)


@pytest.mark.parametrize("role", ["target", "draft"])
def test_a_role_that_another_scales_is_left_to_it(role: str) -> None:
    taken = replace(BUSY, others={role: "HorizontalPodAutoscaler a"})
    assert role not in steps(decided(3, 2), taken, BOTH, silent=True).replicas


def test_a_role_that_is_not_asked_for_keeps_its_replicas() -> None:
    target_alone = replace(BOTH, roles=frozenset({"target"}))
    assert steps(decided(3, 0, speculate=False), BUSY, target_alone, silent=True) == Steps({"target": 3}, False)


def test_without_a_draft_targets_are_let_speculate_again() -> None:
    no_draft = replace(BOTH, policy=Policy(target=Bounds(1, 4), draft=None), roles=frozenset({"target"}), drafts=False)
    told_off = replace(BUSY, draft=Pods(0, 0), speculating=False)
    assert steps(decided(draft=0), told_off, no_draft, silent=True) == Steps({}, speculate=True)
