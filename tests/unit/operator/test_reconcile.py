"""Reconcile: what is wanted comes about whatever interrupts it; what is right is left; what is bad harms none."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.kube.errors import KubeError
from outrider_operator.reconcile import reconcile
from outrider_operator.reconcile.queue import Again
from outrider_operator.reconcile.reconcile import Reconciler, read
from outrider_operator.reconcile.store import Key, Store, key_of, owner_uid
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.pod import Object
from support.memory_kube import MemoryKube, Place, place_of

SAMPLE = Path(__file__).parents[3] / "manifests" / "samples" / "qwen-coder.yaml"


class Cluster:
    """A model, the server that has it, and an operator that can be killed and started anew."""

    def __init__(self) -> None:
        self.kube = MemoryKube()
        sample = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
        sample["metadata"]["namespace"] = "chat"
        self.place: Place = place_of(self.kube.add(sample))
        self.restart()

    @property
    def model(self) -> Object:
        return self.kube.objects[self.place]

    @property
    def children(self) -> dict[Place, Object]:
        return {
            place: item for place, item in self.kube.objects.items() if owner_uid(item) == self.model["metadata"]["uid"]
        }

    @property
    def conditions(self) -> dict[str, Object]:
        return {each["type"]: each for each in self.model["status"]["conditions"]}

    def restart(self) -> None:
        """A new process: it knows what the watches tell it and nothing else."""
        self.store = Store()
        now = lambda: datetime(2026, 1, 1, tzinfo=UTC)  # noqa: E731
        self.reconciler = Reconciler(self.kube, self.store, Platform(), now)  # type: ignore[arg-type]
        self.watch()

    def watch(self) -> None:
        for item in self.kube.objects.values():
            if item["kind"] == "SpeculativeModel":
                self.store.model_seen(copy.deepcopy(item))
            elif item["kind"] != "Secret":  # they are read by name
                self.store.child_seen(copy.deepcopy(item))

    def edit(self, change: Callable[[Any], None]) -> None:
        """Somebody applies the model with another spec."""
        model = copy.deepcopy(self.model)
        change(model["spec"])
        model["metadata"]["generation"] += 1
        self.kube._put(model, {})
        self.watch()

    def reconcile(self, failures: int = 0) -> Again | None:
        return asyncio.run(self.reconciler.reconcile(Key("chat", self.place[2]), failures))

    def settle(self) -> None:
        """Reconciles, and the controllers of the cluster do their part, until nothing is left to do."""
        for _ in range(6):
            self.reconcile()
            for place, item in list(self.children.items()):
                if item["kind"] == "Deployment":
                    replicas = item["spec"]["replicas"]
                    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), replicas)
                    self.kube.objects[place]["status"] = {
                        "observedGeneration": item["metadata"]["generation"],
                        **counts,
                    }
                    self.kube._put(self.kube.objects[place], {})
            self.watch()

    def told(self) -> dict[Place, Object]:
        """What the children say, without what the server adds."""
        return {
            place: {
                key: value
                for key, value in item.items()
                if key not in ("metadata", "status") and (key != "data" or item["kind"] != "Secret")
            }
            | {"annotations": item["metadata"]["annotations"]}
            for place, item in self.children.items()
        }


def test_a_model_becomes_its_children_and_its_status_says_so() -> None:
    cluster = Cluster()
    cluster.settle()
    kinds = sorted(kind for kind, _, _ in cluster.children)
    assert kinds == [
        "ConfigMap",
        *["Deployment"] * 2,
        *["NetworkPolicy"] * 2,
        *["PodDisruptionBudget"] * 2,
        *["Secret"] * 2,
        *["Service"] * 2,
        "ServiceAccount",
    ]
    assert {name: each["status"] for name, each in cluster.conditions.items()} == dict.fromkeys(
        ("Accepted", "TargetReady", "DraftReady", "Ready"), "True"
    )
    assert cluster.model["status"]["url"] == "http://qwen-coder-target.chat.svc:8000"
    assert all(each["observedGeneration"] == 1 for each in cluster.conditions.values())


def test_each_child_is_written_once_and_a_second_run_writes_nothing() -> None:
    cluster = Cluster()
    cluster.settle()
    applied = [place for verb, place in cluster.kube.writes if verb == "apply"]
    assert sorted(applied) == sorted(cluster.children)
    cluster.kube.writes.clear()
    cluster.settle()
    cluster.restart()
    cluster.settle()
    assert cluster.kube.writes == []


def test_a_model_is_read_once_for_each_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, generations = Cluster(), []

    def reading(model: Object) -> tuple[SpeculativeModel | None, list[str]]:
        generations.append(model["metadata"]["generation"])
        return read(model)

    monkeypatch.setattr(reconcile, "read", reading)
    cluster.settle()
    cluster.edit(lambda spec: spec["target"].update(maxNumSeqs=3))
    cluster.settle()
    cluster.edit(lambda spec: spec["target"].update(maxNumSeqs=0))
    cluster.settle()
    assert cluster.conditions["Accepted"]["status"] == "False"
    first = generations[0]
    assert generations == [first, first + 1, first + 2]


def test_what_another_deletes_or_edits_is_put_back() -> None:
    cluster = Cluster()
    cluster.settle()
    expected = cluster.told()
    service = ("Service", "chat", "qwen-coder-target")
    deployment = ("Deployment", "chat", "qwen-coder-target")
    cluster.store.child_gone(cluster.kube.objects.pop(service))
    changed = copy.deepcopy(cluster.kube.objects[deployment])
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "another"
    cluster.kube._put(changed, {})
    cluster.watch()
    cluster.kube.writes.clear()
    cluster.kube.events.clear()
    cluster.settle()
    assert sorted(each["message"] for each in cluster.kube.events if "another" in each["message"]) == [
        "Deployment qwen-coder-target was changed by another; it is put back",
        "Service qwen-coder-target was deleted by another; it is made again",
    ]
    assert cluster.told() == expected
    applied = sorted(place for verb, place in cluster.kube.writes if verb == "apply")
    assert applied == [deployment, service]


def from_mirror(item: Object) -> Object:
    """An admission webhook that has all images come from a mirror."""
    if item["kind"] == "Deployment":
        for container in item["spec"]["template"]["spec"]["containers"]:
            container["image"] = f"mirror.example.com/{container['image']}"
    return item


def named_anew(item: Object) -> Object:
    """An admission webhook that says something else each time, of what the operator says as well."""
    item["metadata"]["labels"]["app.kubernetes.io/version"] = f"seen-{next(SEEN)}"
    return item


def without_annotations(item: Object) -> Object:
    """An admission webhook that takes away what it does not know."""
    del item["metadata"]["annotations"]
    return item


SEEN = itertools.count()
WEBHOOKS = [from_mirror, named_anew, without_annotations]


@pytest.mark.parametrize("webhook", WEBHOOKS)
def test_what_a_webhook_makes_of_every_write_is_left_so_and_told_to_nobody(
    webhook: Callable[[Object], Object],
) -> None:
    cluster = Cluster()
    cluster.kube.admit = webhook
    cluster.settle()
    assert cluster.conditions["Ready"]["status"] == "True"
    applied = [place for verb, place in cluster.kube.writes if verb == "apply"]
    assert sorted(applied) == sorted(cluster.children)
    assert [each["reason"] for each in cluster.kube.events] == ["Ready"]
    cluster.kube.writes.clear()
    cluster.settle()
    assert cluster.kube.writes == []
    cluster.edit(lambda spec: spec["target"].update(maxModelLen=2048))
    cluster.settle()
    assert "--max-model-len=2048" in str(cluster.children)
    assert not [each for each in cluster.kube.events if each["reason"] == "Repaired"]


def test_beside_a_webhook_what_a_person_changes_is_put_back_and_told_once() -> None:
    cluster = Cluster()
    cluster.kube.admit = from_mirror
    cluster.settle()
    deployment = ("Deployment", "chat", "qwen-coder-target")
    cluster.kube.events.clear()
    for field, value in ("image", "another"), ("args", []):
        expected = copy.deepcopy(cluster.kube.objects[deployment]["spec"])
        changed = copy.deepcopy(cluster.kube.objects[deployment])
        changed["spec"]["template"]["spec"]["containers"][0][field] = value
        cluster.kube._put(changed, {})
        cluster.watch()
        cluster.kube.writes.clear()
        cluster.settle()
        assert cluster.kube.objects[deployment]["spec"] == expected
        assert [place for verb, place in cluster.kube.writes if verb == "apply"] == [deployment]
    assert [each["message"] for each in cluster.kube.events if each["reason"] == "Repaired"] == [
        "Deployment qwen-coder-target was changed by another; it is put back"
    ] * 2


def test_an_operator_that_is_started_anew_learns_by_one_write_what_a_webhook_makes_of_it() -> None:
    cluster = Cluster()
    cluster.kube.admit = from_mirror
    cluster.settle()
    cluster.kube.events.clear()
    cluster.kube.writes.clear()
    cluster.restart()
    cluster.settle()
    assert sorted(cluster.kube.writes) == [
        ("apply", ("Deployment", "chat", "qwen-coder-draft")),
        ("apply", ("Deployment", "chat", "qwen-coder-target")),
    ]
    assert cluster.kube.events == [], "nobody has changed anything"


def test_a_new_model_has_a_status_though_another_changes_its_objects_at_every_turn() -> None:
    cluster = Cluster()
    service = ("Service", "chat", "qwen-coder-target")
    assert cluster.reconcile() == Again(reconcile.SETTLE_S)
    cluster.kube.objects[service]["spec"]["ports"] = []
    cluster.kube._put(cluster.kube.objects[service], {})
    cluster.watch()
    assert cluster.reconcile() is None
    assert cluster.conditions["Accepted"]["status"] == "True"


def test_turning_the_draft_off_takes_its_objects_away() -> None:
    cluster = Cluster()
    cluster.settle()
    cluster.edit(lambda spec: spec.setdefault("speculation", {}).update(mode="Off"))
    cluster.settle()
    assert not [name for _, _, name in cluster.children if name.endswith("-draft")]
    assert "DraftReady" not in cluster.conditions
    assert cluster.conditions["Ready"]["status"] == "True"


def test_of_a_loss_that_nobody_wants_back_the_server_is_asked_once() -> None:
    cluster, calls_ = Cluster(), list[str]()
    cluster.settle()
    cluster.store.child_gone(cluster.kube.objects.pop(("Deployment", "chat", "qwen-coder-draft")))
    cluster.edit(lambda spec: spec.setdefault("speculation", {}).update(mode="Off"))
    cluster.settle()
    cluster.kube.before = calls_.append
    cluster.reconcile()
    assert calls_ == []


def test_a_bad_spec_is_told_and_what_runs_stays_as_it_is() -> None:
    cluster = Cluster()
    cluster.settle()
    before = cluster.told()
    cluster.edit(lambda spec: spec["target"].update(dtype="float7"))
    cluster.kube.writes.clear()
    cluster.settle()
    assert cluster.told() == before
    assert [verb for verb, _ in cluster.kube.writes] == ["status"]
    refused = cluster.conditions["Accepted"]
    assert refused["status"] == "False"
    assert refused["message"].startswith('spec.target.dtype: "float7" is not one of')
    assert cluster.conditions["Ready"]["reason"] == "NotAccepted"
    assert cluster.conditions["TargetReady"]["status"] == "True"
    cluster.edit(lambda spec: spec["target"].update(dtype="float32"))
    cluster.settle()
    assert cluster.conditions["Ready"]["status"] == "True"
    assert "--dtype=float32" in str(cluster.told())


def test_an_object_of_another_is_never_taken() -> None:
    cluster = Cluster()
    mine = cluster.kube.add(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "qwen-coder-target", "namespace": "chat"},
            "spec": {"ports": []},
        }
    )
    cluster.settle()
    assert cluster.kube.objects[place_of(mine)] == mine
    assert cluster.children == {}
    assert "Service qwen-coder-target was there before; delete it" in cluster.conditions["Accepted"]["message"]


def test_a_name_that_is_taken_is_looked_at_again_until_it_is_free() -> None:
    cluster = Cluster()
    mine = cluster.kube.add(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "qwen-coder-target-tls", "namespace": "chat"}}
    )
    assert cluster.reconcile() == Again(reconcile.MISSING_S)
    assert cluster.conditions["Accepted"]["status"] == "False"
    del cluster.kube.objects[place_of(mine)]
    cluster.settle()
    assert cluster.reconcile() is None
    assert cluster.conditions["Ready"]["status"] == "True"


def test_a_model_that_is_being_deleted_is_left_to_the_cluster() -> None:
    cluster = Cluster()
    cluster.settle()
    cluster.model["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cluster.kube._put(cluster.model, {})
    cluster.watch()
    cluster.kube.writes.clear()
    cluster.reconcile()
    assert cluster.kube.writes == []


class Killed(Exception):
    """The process ends, in the middle of a call or before it."""


def calls(cluster: Cluster, change: Callable[[Any], None] | None) -> int:
    """How many calls a whole run makes."""
    count = 0

    def counting(_: str) -> None:
        nonlocal count
        count += 1

    if change is not None:
        cluster.settle()
        cluster.edit(change)
    cluster.kube.before = counting
    cluster.settle()
    return count


CHANGES: dict[str, Callable[[Any], None] | None] = {
    "create": None,
    "update": lambda spec: spec["target"].update(maxNumSeqs=3),
    "draft off": lambda spec: spec.setdefault("speculation", {}).update(mode="Off"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_killed_at_any_call_the_next_process_comes_to_the_same(change: str) -> None:
    undisturbed = Cluster()
    total = calls(undisturbed, CHANGES[change])
    assert total > 0
    for fatal in range(total):
        cluster = Cluster()
        changed = CHANGES[change]
        if changed is not None:
            cluster.settle()
            cluster.edit(changed)
        remaining = fatal

        def killing(_: str) -> None:
            nonlocal remaining
            remaining -= 1
            if remaining < 0:
                raise Killed

        cluster.kube.before = killing
        with pytest.raises(Killed):
            cluster.settle()
        cluster.kube.before = lambda _: None
        cluster.restart()
        cluster.settle()
        assert cluster.told() == undisturbed.told()
        assert cluster.model["status"] == undisturbed.model["status"]


@pytest.mark.parametrize("status", [0, 409, 429, 500, 503])
def test_what_passes_is_tried_again_with_the_patience_that_was_asked_for(status: int) -> None:
    cluster = Cluster()

    def failing(verb: str) -> None:
        if verb == "apply":
            raise KubeError(status, "", "try later", retry_after_s=7.0)

    cluster.kube.before = failing
    assert cluster.reconcile() == Again(7.0, failed=True)
    assert "status" not in cluster.model
    cluster.kube.before = lambda _: None
    cluster.settle()
    assert cluster.conditions["Ready"]["status"] == "True"


def test_what_the_server_refuses_is_told_in_its_own_words() -> None:
    cluster = Cluster()

    def refusing(verb: str) -> None:
        if verb == "apply":
            raise KubeError(403, "Forbidden", 'PATCH /…: exceeded quota: "gpus"')

    cluster.kube.before = refusing
    assert cluster.reconcile() == Again(0.0, failed=True)
    assert cluster.conditions["Accepted"]["status"] == "True"
    assert cluster.conditions["Ready"]["reason"] == "Refused"
    assert "exceeded quota" in cluster.conditions["Ready"]["message"]


def test_a_field_that_the_kind_has_not_got_is_told_at_once_though_the_server_answers_500() -> None:
    cluster = Cluster()
    said = (
        "PATCH /…: failed to create typed patch object (chat/qwen-coder-target; apps/v1, Kind=Deployment):"
        " .spec.template.spec.affinity.nodeAfinity: field not declared in schema"
    )

    def failing(verb: str) -> None:
        if verb == "apply":
            raise KubeError(500, "", said)

    cluster.kube.before = failing
    assert cluster.reconcile() == Again(0.0, failed=True)
    assert (cluster.conditions["Ready"]["reason"], cluster.conditions["Ready"]["message"]) == ("Refused", said)


def test_what_should_pass_and_does_not_is_told_after_some_failures_and_until_it_passes() -> None:
    cluster = Cluster()

    def failing(verb: str) -> None:
        if verb == "apply":
            raise KubeError(500, "InternalError", "PATCH /…: failed calling webhook")

    cluster.kube.before = failing
    for failures in range(reconcile.TOLD_AFTER):
        cluster.reconcile(failures)
        assert "status" not in cluster.model
    cluster.reconcile(reconcile.TOLD_AFTER)
    assert cluster.conditions["Ready"]["reason"] == "Refused"
    assert "failed calling webhook" in cluster.conditions["Ready"]["message"]
    assert [each["reason"] for each in cluster.kube.events] == ["NotReady"]
    cluster.kube.before = lambda _: None
    cluster.settle()
    assert cluster.conditions["Ready"]["status"] == "True"


def test_what_is_said_of_the_pods_stays_true_while_an_object_is_refused() -> None:
    cluster = Cluster()
    cluster.settle()

    def refusing(verb: str) -> None:
        if verb == "apply":
            raise KubeError(403, "Forbidden", "PATCH /…: denied by a policy")

    cluster.kube.before = refusing
    cluster.edit(lambda spec: spec["draft"].update(maxNumSeqs=3))
    cluster.kube.objects["Deployment", "chat", "qwen-coder-target"]["status"]["availableReplicas"] = 0
    cluster.kube._put(cluster.kube.objects["Deployment", "chat", "qwen-coder-target"], {})
    cluster.watch()
    cluster.reconcile()
    assert cluster.conditions["Ready"]["reason"] == "Refused"
    assert cluster.conditions["TargetReady"]["status"] == "False"
    assert cluster.conditions["TargetReady"]["message"] == "0 of 1 of the newest revision ready"


def test_while_a_model_is_paused_nothing_but_its_status_is_written() -> None:
    cluster = Cluster()
    cluster.settle()
    cluster.edit(lambda spec: spec.update(paused=True))
    service = ("Service", "chat", "qwen-coder-target")
    cluster.store.child_gone(cluster.kube.objects.pop(service))
    cluster.kube.writes.clear()
    cluster.settle()
    assert {verb for verb, _ in cluster.kube.writes} == {"status"}
    assert cluster.conditions["Accepted"]["reason"] == "Paused"
    cluster.edit(lambda spec: spec.update(paused=False))
    cluster.settle()
    assert service in cluster.children


def test_paused_a_model_is_ready_while_what_answers_is_its_spec_and_no_longer() -> None:
    cluster = Cluster()
    cluster.settle()
    cluster.edit(lambda spec: spec.update(paused=True))
    newer = replace(cluster.reconciler.platform, target_image="outrider-serving:9.9.9")
    cluster.reconciler.platform = newer
    cluster.reconcile()
    assert (cluster.conditions["Ready"]["status"], cluster.conditions["Ready"]["reason"]) == ("True", "Serving")
    cluster.edit(lambda spec: spec["target"]["model"].update(uri="hf://org/another"))
    cluster.kube.writes.clear()
    cluster.reconcile()
    assert {verb for verb, _ in cluster.kube.writes} == {"status"}
    assert (cluster.conditions["Ready"]["status"], cluster.conditions["Ready"]["reason"]) == ("False", "Paused")
    assert cluster.conditions["Accepted"]["reason"] == "Paused"
    cluster.edit(lambda spec: spec.update(paused=False))
    cluster.reconcile()
    assert cluster.conditions["Ready"]["reason"] == "TargetNotReady"
    cluster.settle()
    assert cluster.conditions["Ready"]["status"] == "True"


def another_has_the_name(cluster: Cluster) -> None:
    cluster.kube.add(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "qwen-coder-target", "namespace": "chat"},
            "spec": {},
        }
    )
    cluster.edit(lambda spec: spec.update(endpoint={"route": {"kind": "Ingress"}}))


def a_policy_refuses(cluster: Cluster) -> None:
    def refusing(verb: str) -> None:
        if verb == "apply":
            raise KubeError(403, "Forbidden", "PATCH /…: denied by a policy")

    cluster.kube.before = refusing


@pytest.mark.parametrize("hindrance", [another_has_the_name, a_policy_refuses])
def test_a_spec_that_comes_about_late_is_not_ready_before_its_own_pods_are(
    hindrance: Callable[[Cluster], None],
) -> None:
    cluster = Cluster()
    cluster.settle()
    hindrance(cluster)
    cluster.edit(lambda spec: spec["target"].update(maxModelLen=2048))
    cluster.reconcile()
    assert cluster.conditions["Ready"]["status"] == "False"
    cluster.kube.before = lambda _: None
    cluster.kube.objects.pop(("Ingress", "chat", "qwen-coder-target"), None)
    cluster.kube.events.clear()
    cluster.reconcile()
    deployment = cluster.kube.objects["Deployment", "chat", "qwen-coder-target"]
    assert deployment["status"]["observedGeneration"] < deployment["metadata"]["generation"]
    assert cluster.conditions["TargetReady"]["status"] == cluster.conditions["Ready"]["status"] == "False"
    assert "Ready" not in [each["reason"] for each in cluster.kube.events]
    cluster.settle()
    assert cluster.conditions["Ready"]["status"] == "True"


def test_a_secret_that_is_missing_is_told_and_looked_for_again_until_it_is_there() -> None:
    cluster = Cluster()
    cluster.edit(lambda spec: spec["target"]["model"].update(secretRef={"name": "hub"}))
    cluster.settle()
    again = cluster.reconcile()
    assert again is not None
    assert not again.failed
    accepted = cluster.conditions["Accepted"]
    assert (accepted["status"], accepted["reason"]) == ("True", "Lacking")
    assert accepted["message"] == "spec.target.model.secretRef: there is no Secret hub; create it"
    cluster.kube.add({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub", "namespace": "chat"}})
    assert cluster.reconcile() is None
    assert cluster.conditions["Accepted"]["reason"] == "Valid"


def test_a_claim_that_somebody_has_grown_is_left_so_and_keeps_no_change_back() -> None:
    cluster = Cluster()
    cluster.edit(lambda spec: spec.update(storage={"size": "50Gi", "accessModes": ["ReadWriteMany"]}))
    cluster.settle()
    claim = ("PersistentVolumeClaim", "chat", "qwen-coder-models")
    cluster.kube.objects[claim]["spec"]["resources"]["requests"]["storage"] = "100Gi"
    cluster.kube._put(cluster.kube.objects[claim], {})
    cluster.watch()
    cluster.kube.events.clear()
    cluster.edit(lambda spec: spec["target"].update(maxModelLen=2048))
    cluster.settle()
    assert cluster.kube.objects[claim]["spec"]["resources"]["requests"]["storage"] == "100Gi"
    assert "Repaired" not in [each["reason"] for each in cluster.kube.events]
    assert "--max-model-len=2048" in str(cluster.told())
    cluster.kube.writes.clear()
    cluster.settle()
    assert cluster.kube.writes == []
    cluster.edit(lambda spec: spec["storage"].update(size="200Gi"))
    cluster.settle()
    assert cluster.kube.objects[claim]["spec"]["resources"]["requests"]["storage"] == "200Gi"


def test_a_claim_of_a_size_that_the_server_rounds_is_written_once() -> None:
    cluster = Cluster()

    def rounded(item: Object) -> Object:
        if item["kind"] == "PersistentVolumeClaim":
            item["spec"]["resources"]["requests"]["storage"] = "1325598706238m"
        return item

    cluster.kube.admit = rounded
    cluster.edit(lambda spec: spec.update(storage={"size": "1.23456Gi", "accessModes": ["ReadWriteMany"]}))
    cluster.settle()
    claim = ("PersistentVolumeClaim", "chat", "qwen-coder-models")
    assert cluster.kube.writes.count(("apply", claim)) == 1


def test_the_status_counts_the_pods_and_says_how_to_find_them() -> None:
    cluster = Cluster()
    cluster.settle()
    status = cluster.model["status"]
    assert status["targetReplicas"] == 1
    assert "app.kubernetes.io/component=target" in status["targetSelector"]
    cluster.edit(lambda spec: spec.setdefault("speculation", {}).update(mode="Off"))
    cluster.settle()
    assert "draftReplicas" not in cluster.model["status"]


def test_in_a_namespace_that_is_being_deleted_nothing_is_tried_again() -> None:
    cluster = Cluster()

    def ending(verb: str) -> None:
        if verb == "apply":
            raise KubeError(
                403, "Forbidden", "unable to create new content in namespace chat because it is being terminated"
            )

    cluster.kube.before = ending
    assert cluster.reconcile() is None
    assert "status" not in cluster.model


def test_people_are_told_when_a_model_answers_when_it_does_not_and_what_is_wrong_with_its_spec() -> None:
    cluster = Cluster()
    cluster.settle()
    assert [each["reason"] for each in cluster.kube.events] == ["Ready"]
    cluster.edit(lambda spec: spec["target"].update(dtype="float7"))
    cluster.settle()
    assert [each["reason"] for each in cluster.kube.events] == ["Ready", "NotAccepted", "NotReady"]
    assert "spec.target.dtype" in cluster.kube.events[1]["message"]


@pytest.mark.parametrize("taken", ["everything", "the model alone"])
def test_a_model_that_has_gone_unheard_is_not_made_anew(taken: str) -> None:
    cluster = Cluster()
    cluster.settle()
    kept = copy.deepcopy(cluster.model)
    children = cluster.children
    del cluster.kube.objects[cluster.place]
    if taken == "everything":
        for place, item in children.items():
            del cluster.kube.objects[place]
            cluster.store.child_gone(item)
    else:
        changed = copy.deepcopy(kept)
        changed["metadata"] |= {"generation": 2, "resourceVersion": "1000"}
        cluster.store.model_seen(changed)
    cluster.kube.writes.clear()
    assert cluster.reconcile() is None
    assert not [verb for verb, _ in cluster.kube.writes if verb != "status"]
    assert cluster.store.models == []


def let_go(cluster: Cluster) -> None:
    """kubectl delete --cascade=orphan: the garbage collector has taken the owner off one of the objects."""
    place = ("Service", "chat", "qwen-coder-target")
    del cluster.kube.objects[place]["metadata"]["ownerReferences"]
    cluster.store.child_seen(cluster.kube._put(cluster.kube.objects[place], {}))


def taken_along(cluster: Cluster) -> None:
    """kubectl delete --cascade=foreground: the garbage collector has deleted one of the objects."""
    place = ("Service", "chat", "qwen-coder-target")
    cluster.store.child_gone(cluster.kube.objects.pop(place))


@pytest.mark.parametrize("garbage_collector", [let_go, taken_along])
@pytest.mark.parametrize("still_there", [True, False])
def test_of_a_model_that_is_deleted_unheard_no_object_is_made_anew_nor_its_owner_put_back(
    garbage_collector: Callable[[Cluster], None], still_there: bool
) -> None:
    cluster = Cluster()
    cluster.settle()
    garbage_collector(cluster)
    if still_there:
        deleted = {**cluster.model["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
        cluster.kube._put({**cluster.model, "metadata": deleted}, {})
    else:
        del cluster.kube.objects[cluster.place]
    cluster.kube.writes.clear()
    assert cluster.reconcile() is None
    assert cluster.reconcile() is None
    assert cluster.kube.writes == []


def test_a_name_that_is_taken_over_by_a_new_model_is_that_ones() -> None:
    cluster = Cluster()
    cluster.settle()
    old = copy.deepcopy(cluster.model)
    del cluster.kube.objects[cluster.place]
    fresh = {key: value for key, value in old.items() if key != "status"}
    cluster.kube.add({**fresh, "metadata": {"name": old["metadata"]["name"], "namespace": "chat"}})
    cluster.store.model_gone(old)
    cluster.watch()
    assert key_of(cluster.model) == key_of(old)
    cluster.reconcile()
    assert "belongs to another" in cluster.conditions["Accepted"]["message"]
    cluster.kube.objects = {place: item for place, item in cluster.kube.objects.items() if owner_uid(item) is None}
    cluster.settle()
    assert cluster.conditions["Ready"]["status"] == "True"
