"""Mutual TLS, reconciled: made with the first run, left alone by the next, put back, renewed, and taken away."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from outrider_operator.certificates.authority import begun, renewal
from outrider_operator.kube.errors import KubeError
from outrider_operator.reconcile.certificates import GOOD_FOR
from outrider_operator.reconcile.difference import APPLIED
from outrider_operator.reconcile.queue import Again
from outrider_operator.reconcile.reconcile import SETTLE_S, Reconciler
from outrider_operator.reconcile.store import Key, key_of
from outrider_operator.resources.certificates import files
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.pod import Object
from structlog.testing import capture_logs
from support.memory_kube import Place, place_of
from unit.operator.test_reconcile import Cluster, another_has_the_name

START = datetime(2026, 1, 1, tzinfo=UTC)
AUTHORITY: Place = ("Secret", "chat", "outrider-ca")
DRAFT: Place = ("Secret", "chat", "qwen-coder-draft-tls")
TARGET: Place = ("Secret", "chat", "qwen-coder-target-tls")


class Timed(Cluster):
    """A cluster whose clock a test sets, with one operator that lives on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.reconciler = Reconciler(self.kube, self.store, Platform(), lambda: self.now)  # type: ignore[arg-type]
        self.settle()

    def after(self, passed: timedelta) -> list[tuple[str, Place]]:
        """What is written when the model is looked at that much later."""
        self.now += passed
        self.kube.writes.clear()
        self.reconcile()
        return self.kube.writes

    def files(self, place: Place) -> dict[str, bytes]:
        return files(self.kube.objects[place])


def owners(item: Object) -> list[str]:
    return [owner["name"] for owner in item["metadata"].get("ownerReferences", [])]


def test_each_role_has_a_certificate_of_the_model_and_the_authority_is_nobodys() -> None:
    cluster = Timed()
    assert owners(cluster.kube.objects[DRAFT]) == owners(cluster.kube.objects[TARGET]) == ["qwen-coder"]
    assert owners(cluster.kube.objects[AUTHORITY]) == []
    trusted = cluster.files(AUTHORITY)["ca.crt"]
    assert cluster.files(DRAFT)["ca.crt"] == cluster.files(TARGET)["ca.crt"] == trusted
    assert "tls.key" not in json.dumps([cluster.kube.objects[DRAFT]["metadata"], cluster.model["status"]])


def test_what_is_right_is_neither_read_nor_written_again_and_after_a_while_only_read() -> None:
    cluster = Timed()
    calls: list[str] = []
    cluster.kube.before = calls.append
    assert cluster.after(GOOD_FOR / 2) == []
    assert calls == []
    assert cluster.after(GOOD_FOR) == []
    assert calls == ["get", "get", "get"]
    cluster.restart()
    assert cluster.after(timedelta()) == []


def test_a_certificate_that_somebody_deletes_or_spoils_is_put_back() -> None:
    cluster = Timed()
    del cluster.kube.objects[TARGET]
    cluster.kube.objects[DRAFT]["data"]["ca.crt"] = ""
    assert cluster.after(GOOD_FOR) == [("apply", DRAFT), ("apply", TARGET)]
    assert cluster.files(DRAFT)["ca.crt"] == cluster.files(AUTHORITY)["ca.crt"]


def test_a_certificate_is_renewed_with_a_third_of_its_life_left() -> None:
    cluster = Timed()
    before = cluster.files(DRAFT)
    assert cluster.after(timedelta(days=59)) == []
    assert cluster.after(timedelta(days=1)) == [("apply", DRAFT), ("apply", TARGET)]
    assert cluster.files(DRAFT)["tls.key"] != before["tls.key"]
    assert cluster.files(DRAFT)["ca.crt"] == before["ca.crt"]


def a_rule_is_broken(cluster: Cluster) -> None:
    cluster.edit(lambda spec: spec["target"].update(dtype="float7"))


@pytest.mark.parametrize("hindrance", [a_rule_is_broken, another_has_the_name])
def test_what_runs_on_though_its_model_is_not_accepted_keeps_good_certificates(
    hindrance: Callable[[Cluster], None],
) -> None:
    cluster = Timed()
    hindrance(cluster)
    cluster.after(timedelta())
    assert cluster.conditions["Accepted"]["status"] == "False"
    problem = cluster.conditions["Accepted"]["message"]
    assert cluster.after(timedelta(days=59)) == []
    assert cluster.after(timedelta(days=1)) == [("apply", DRAFT), ("apply", TARGET)]
    assert begun(cluster.files(DRAFT)["tls.crt"]) == cluster.now
    assert cluster.conditions["Accepted"]["message"] == problem
    cluster.kube.before = lambda verb: pytest.fail(f"{verb}: it is right") if verb == "apply" else None
    assert cluster.after(GOOD_FOR) == []


def test_a_model_that_was_never_accepted_gets_no_certificates() -> None:
    cluster = Cluster()
    a_rule_is_broken(cluster)
    cluster.settle()
    assert [place for place in cluster.kube.objects if place[0] == "Secret"] == []


def test_beside_a_bad_spec_a_failure_to_renew_is_not_taken_for_a_good_one() -> None:
    cluster = Timed()
    a_rule_is_broken(cluster)

    def refusing(verb: str) -> None:
        if verb == "apply":
            raise KubeError(403, "Forbidden", "PATCH /…: no")

    cluster.kube.before = refusing
    cluster.after(timedelta(days=60))
    assert cluster.conditions["Accepted"]["status"] == "False"
    assert cluster.conditions["Ready"]["reason"] == "NotAccepted"
    cluster.kube.before = lambda _: None
    assert cluster.after(timedelta()) == [("apply", DRAFT), ("apply", TARGET)]


def test_beside_a_bad_spec_an_authority_that_somebody_has_spoilt_is_told() -> None:
    cluster = Timed()
    a_rule_is_broken(cluster)
    cluster.kube.objects[AUTHORITY]["data"]["tls.key"] = ""
    cluster.after(GOOD_FOR)
    message = cluster.conditions["Accepted"]["message"]
    assert "spec.target.dtype" in message
    assert "Secret outrider-ca: it holds no authority; delete it" in message


def test_an_authority_near_its_end_is_followed_by_another_in_two_steps() -> None:
    cluster = Timed()
    old = cluster.files(AUTHORITY)["tls.crt"]
    cluster.after(renewal(old) - START - timedelta(days=1))
    assert cluster.after(timedelta(days=1)) == [("apply", AUTHORITY), ("apply", DRAFT), ("apply", TARGET)]
    assert cluster.files(DRAFT)["ca.crt"].count(b"BEGIN CERTIFICATE") == 2
    leaf = cluster.files(DRAFT)["tls.crt"]
    assert cluster.after(timedelta(hours=23)) == []
    assert cluster.after(timedelta(hours=1)) == [("apply", AUTHORITY), ("apply", DRAFT), ("apply", TARGET)]
    assert cluster.files(AUTHORITY)["tls.crt"] != old
    assert cluster.files(DRAFT)["tls.crt"] != leaf
    assert cluster.after(GOOD_FOR) == []


def test_what_was_made_by_a_clock_that_was_ahead_is_made_anew_as_soon_as_it_is_right() -> None:
    cluster = Timed()
    assert cluster.after(-timedelta(hours=1)) == [("apply", AUTHORITY), ("apply", DRAFT), ("apply", TARGET)]
    assert begun(cluster.files(AUTHORITY)["tls.crt"]) == begun(cluster.files(DRAFT)["tls.crt"]) == cluster.now
    assert cluster.after(timedelta()) == []


def test_without_a_draft_there_are_no_certificates_and_the_authority_stays() -> None:
    cluster = Timed()
    cluster.edit(lambda spec: spec.setdefault("speculation", {}).update(mode="Off"))
    cluster.settle()
    assert [place for place in cluster.kube.objects if place[0] == "Secret"] == [AUTHORITY]
    cluster.edit(lambda spec: spec["speculation"].update(mode="Auto"))
    cluster.settle()
    assert {DRAFT, TARGET} <= set(cluster.kube.objects)


def test_a_second_model_of_the_namespace_has_the_same_authority_and_certificates_of_its_own() -> None:
    cluster = Timed()
    other = {key: value for key, value in cluster.model.items() if key != "status"}
    other["metadata"] = {"name": "other", "namespace": "chat"}
    cluster.store.model_seen(cluster.kube.add(other))
    before = cluster.kube.objects[AUTHORITY]
    asyncio.run(cluster.reconciler.reconcile(Key("chat", "other")))
    assert cluster.kube.objects[AUTHORITY] == before
    assert cluster.files(("Secret", "chat", "other-draft-tls"))["ca.crt"] == cluster.files(DRAFT)["ca.crt"]
    assert cluster.files(("Secret", "chat", "other-draft-tls"))["tls.key"] != cluster.files(DRAFT)["tls.key"]


def test_of_two_that_make_the_authority_at_once_one_wins_and_both_use_its() -> None:
    winner, cluster = Cluster(), Cluster()
    winner.settle()
    won = winner.kube.objects[AUTHORITY]

    def meanwhile(verb: str) -> None:
        if verb == "create" and AUTHORITY not in cluster.kube.objects:
            cluster.kube.add(won)

    cluster.kube.before = meanwhile
    assert cluster.reconcile() == Again(SETTLE_S), "losing is no failure"
    cluster.settle()
    assert cluster.kube.objects[AUTHORITY]["data"] == won["data"]
    assert files(cluster.kube.objects[DRAFT])["ca.crt"] == files(won)["ca.crt"]
    assert cluster.conditions["Ready"]["status"] == "True"


def test_of_two_that_replace_the_authority_at_once_one_wins() -> None:
    cluster = Timed()
    cluster.now = renewal(cluster.files(AUTHORITY)["tls.crt"])
    rival = Reconciler(cluster.kube, cluster.store, Platform(), lambda: cluster.now)  # type: ignore[arg-type]

    def meanwhile(verb: str) -> None:
        if verb == "apply":
            cluster.kube.before = lambda _: None
            # The server in memory never waits, so one step is the whole of it.
            with contextlib.suppress(StopIteration):
                rival.reconcile(key_of(cluster.model)).send(None)

    cluster.kube.before = meanwhile
    assert cluster.reconcile() is None, "losing is no failure"
    written = cluster.files(AUTHORITY)
    assert cluster.files(DRAFT)["ca.crt"] == cluster.files(TARGET)["ca.crt"] == written["ca.crt"]
    assert written["ca.crt"].count(b"BEGIN CERTIFICATE") == 2


@pytest.mark.parametrize("place", [AUTHORITY, DRAFT])
def test_a_secret_of_another_is_never_taken_and_the_condition_names_it(place: Place) -> None:
    cluster = Cluster()
    kind, namespace, name = place
    metadata = {"name": name, "namespace": namespace}
    theirs = cluster.kube.add({"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": {"theirs": "eA=="}})
    cluster.settle()
    assert cluster.kube.objects[place] == theirs
    assert f"Secret {name}" in cluster.conditions["Accepted"]["message"]
    assert "delete it" in cluster.conditions["Accepted"]["message"]
    assert not [item for item in cluster.kube.objects.values() if item["kind"] == "Deployment"]
    del cluster.kube.objects[place_of(theirs)]
    cluster.settle()
    assert cluster.conditions["Ready"]["status"] == "True"


def test_a_secret_of_another_stays_where_there_is_no_draft() -> None:
    cluster = Cluster()
    metadata = {"name": DRAFT[2], "namespace": "chat"}
    theirs = cluster.kube.add({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {}})
    cluster.edit(lambda spec: spec.setdefault("speculation", {}).update(mode="Off"))
    cluster.settle()
    assert cluster.kube.objects[DRAFT] == theirs
    assert cluster.conditions["Ready"]["status"] == "True"


def test_an_authority_that_somebody_has_spoilt_is_told_and_what_runs_stays() -> None:
    cluster = Timed()
    before = cluster.told()
    cluster.kube.objects[AUTHORITY]["data"]["tls.key"] = ""
    cluster.after(GOOD_FOR)
    assert "Secret outrider-ca: it holds no authority; delete it" in cluster.conditions["Accepted"]["message"]
    assert cluster.conditions["Accepted"]["message"].count("outrider-ca") == 1
    assert cluster.told() == before
    del cluster.kube.objects[AUTHORITY]
    cluster.settle()
    assert cluster.conditions["Accepted"]["status"] == "True"
    assert cluster.files(DRAFT)["ca.crt"] == cluster.files(AUTHORITY)["ca.crt"]


def test_no_key_is_in_a_log_a_status_or_an_annotation_whatever_goes_wrong() -> None:
    cluster = Cluster()

    def refusing(verb: str) -> None:
        if verb == "apply":
            raise KubeError(403, "Forbidden", "PATCH /…: no")

    cluster.kube.before = refusing
    with capture_logs() as lines:
        cluster.reconcile()
    cluster.kube.before = lambda _: None
    cluster.settle()
    told: list[Any] = [lines, cluster.model, *(item["metadata"] for item in cluster.kube.objects.values())]
    assert "PRIVATE" not in json.dumps(told, default=str)
    key = cluster.kube.objects[DRAFT]["data"]["tls.key"]
    assert key not in json.dumps(told, default=str)


def test_what_was_applied_is_told_without_what_a_secret_holds() -> None:
    one, two = Timed(), Timed()
    of = [each.kube.objects[DRAFT] for each in (one, two)]
    assert of[0]["data"] != of[1]["data"]
    assert of[0]["metadata"]["annotations"][APPLIED] == of[1]["metadata"]["annotations"][APPLIED]
