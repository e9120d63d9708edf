"""Whether a role is ready: what a rollout must reach, and what scaling must not take back."""

from __future__ import annotations

from outrider_operator.reconcile.conditions import DRAFT_READY, TARGET_READY, Finding, ready, rollout
from outrider_operator.resources.pod import Object

FINE = Finding(TARGET_READY, "True", "AllReady", "1 of 1 of the newest revision ready")


def deployment(wanted: int, available: int, replicas: int | None = None, updated: int | None = None) -> Object:
    """As its controller has seen it: replicas that there are, and those of the newest revision."""
    there = wanted if replicas is None else replicas
    return {
        "metadata": {"generation": 4},
        "spec": {"replicas": wanted},
        "status": {
            "observedGeneration": 4,
            "replicas": there,
            "updatedReplicas": there if updated is None else updated,
            "availableReplicas": available,
        },
    }


def test_a_role_that_is_not_scaled_is_ready_when_all_its_pods_are() -> None:
    assert rollout(TARGET_READY, deployment(3, available=2)).reason == "Rolling"
    assert rollout(TARGET_READY, deployment(3, available=3)).reason == "AllReady"


def test_a_role_that_is_scaled_stays_ready_while_more_of_it_start() -> None:
    found = rollout(TARGET_READY, deployment(3, available=1), enough=1)
    assert (found.status, found.reason) == ("True", "Scaling")
    assert found.message == "1 of 3 of the newest revision ready; the others start"
    assert rollout(TARGET_READY, deployment(3, available=1), enough=2).status == "False"
    rolling = deployment(3, available=3, replicas=3, updated=1)
    assert rollout(TARGET_READY, rolling, enough=1).status == "False", "older ones answer too"


def test_pods_that_are_on_their_way_out_are_not_counted_as_wanted() -> None:
    assert rollout(TARGET_READY, deployment(1, available=3, replicas=3)).message.startswith("1 of 1 ")


def test_what_was_found_stands_until_the_controller_has_seen_new_replicas_but_not_a_new_spec() -> None:
    unseen = deployment(3, available=1)
    unseen["metadata"]["generation"] = 5
    assert rollout(TARGET_READY, unseen, before=FINE) == FINE
    assert rollout(TARGET_READY, unseen).status == "False"


def test_a_draft_that_nobody_wants_is_not_missed() -> None:
    accepted = Finding("Accepted", "True", "Valid", "")
    none = rollout(DRAFT_READY, deployment(0, available=0))
    assert (none.status, none.reason) == ("False", "ScaledToZero")
    assert ready(accepted, FINE, none).reason == "Serving"
    starting = rollout(DRAFT_READY, deployment(1, available=0))
    assert ready(accepted, FINE, starting).reason == "DraftNotReady"
