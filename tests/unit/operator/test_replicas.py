"""Replicas that others set: reconcile leaves them, and they fall back for nobody."""

from __future__ import annotations

from typing import Any

import pytest
from outrider_operator.kube.errors import KubeError
from outrider_operator.reconcile.replicas import owners_of_replicas, with_replicas, without_replicas
from outrider_operator.reconcile.store import Key, Store
from outrider_operator.resources.pod import Object
from support.memory_kube import Place
from unit.operator.test_reconcile import Cluster

TARGET: Place = ("Deployment", "chat", "qwen-coder-target")
DRAFT: Place = ("Deployment", "chat", "qwen-coder-draft")
AUTOSCALER = "outrider-autoscaler"
BETWEEN = {"minReplicas": 2, "maxReplicas": 8}

# As servers since 1.22 have them, but for their times and most of their fields.
OURS = {
    "manager": "outrider",
    "operation": "Apply",
    "apiVersion": "apps/v1",
    "fieldsType": "FieldsV1",
    "fieldsV1": {
        "f:metadata": {"f:annotations": {"f:outrider.dev/applied": {}}},
        "f:spec": {"f:progressDeadlineSeconds": {}, "f:replicas": {}, "f:selector": {}},
    },
}
OURS_WITHOUT = {**OURS, "fieldsV1": {"f:spec": {"f:progressDeadlineSeconds": {}, "f:selector": {}}}}
BY_SCALE = {
    "manager": "kube-controller-manager",
    "operation": "Update",
    "apiVersion": "apps/v1",
    "fieldsType": "FieldsV1",
    "fieldsV1": {"f:spec": {"f:replicas": {}}},
    "subresource": "scale",
}
ITS_STATUS = {
    "manager": "kube-controller-manager",
    "operation": "Update",
    "apiVersion": "apps/v1",
    "fieldsType": "FieldsV1",
    "fieldsV1": {
        "f:metadata": {"f:annotations": {"f:deployment.kubernetes.io/revision": {}}},
        "f:status": {"f:replicas": {}, "f:readyReplicas": {}},
    },
    "subresource": "status",
}


def live(replicas: int, *managed: Object) -> Object:
    return {"kind": "Deployment", "metadata": {"managedFields": list(managed)}, "spec": {"replicas": replicas}}


WANTED: Object = {"kind": "Deployment", "metadata": {}, "spec": {"replicas": 1, "paused": False}}


@pytest.mark.parametrize(
    ("there", "named"),
    [
        (live(5, OURS, ITS_STATUS), 5),
        (live(5, OURS_WITHOUT, BY_SCALE, ITS_STATUS), None),
        (live(1, OURS, BY_SCALE), None),
        (live(5, OURS_WITHOUT, ITS_STATUS), 5),
        (live(5), 5),
        (None, 2),
    ],
    ids=["ours alone", "another's", "both", "nobody's", "not told", "new"],
)
def test_replicas_are_named_as_they_are_until_another_owns_them(there: Object | None, named: int | None) -> None:
    made = with_replicas(without_replicas(WANTED), 2, there)["spec"]
    assert made.get("replicas") == named
    assert made["paused"] is False
    assert WANTED["spec"]["replicas"] == 1, "what was built stays as it is"


def test_of_who_manages_a_deployment_the_store_keeps_who_owns_the_replicas() -> None:
    store = Store()
    metadata = {
        "name": "a-target",
        "namespace": "chat",
        "uid": "1",
        "resourceVersion": "1",
        "ownerReferences": [{"kind": "SpeculativeModel", "name": "a", "uid": "u", "controller": True}],
        "managedFields": [OURS_WITHOUT, BY_SCALE, ITS_STATUS],
    }
    store.child_seen({"kind": "Deployment", "metadata": metadata, "spec": {}})
    [kept] = store.owned("u")
    assert [entry["manager"] for entry in kept["metadata"]["managedFields"]] == ["kube-controller-manager"]
    assert owners_of_replicas(kept) == kept["metadata"]["managedFields"], "and reads it as before"


def scaler(name: str, target: str, kind: str = "Deployment") -> Object:
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "chat"},
        "spec": {"scaleTargetRef": {"kind": kind, "name": target}, "maxReplicas": 4},
    }


def test_the_store_knows_what_scales_a_deployment() -> None:
    store = Store()
    store.scaler_seen(scaler("b", "qwen-coder-draft"))
    store.scaler_seen(scaler("a", "qwen-coder-draft"))
    store.scaler_seen(scaler("c", "qwen-coder", kind="SpeculativeModel"))
    assert store.scaled_by("chat", "qwen-coder-draft") == "a"
    assert store.scaled_by("other", "qwen-coder-draft") is None
    assert store.scaled_by("chat", "qwen-coder") is None
    store.scaler_seen(scaler("a", "qwen-coder-target"))
    assert (store.scaled_by("chat", "qwen-coder-draft"), store.scaled_by("chat", "qwen-coder-target")) == ("b", "a")
    store.scaler_gone(scaler("b", "qwen-coder-draft"))
    store.scaler_gone(scaler("b", "qwen-coder-draft"))
    assert store.scaled_by("chat", "qwen-coder-draft") is None
    assert Key("chat", "qwen-coder-draft") not in store._scaled, "nothing is kept of what is gone"


def scaled_cluster(**autoscaling: Any) -> Cluster:
    cluster = Cluster()
    cluster.edit(lambda spec: spec.update(autoscaling=autoscaling))
    cluster.settle()
    return cluster


def replicas(cluster: Cluster, place: Place) -> int:
    found: int = cluster.kube.objects[place]["spec"]["replicas"]
    return found


def test_a_scaled_role_begins_with_the_fewest_and_stays_where_it_is_scaled_to() -> None:
    cluster = scaled_cluster(target=BETWEEN, draft={"maxReplicas": 4})
    assert (replicas(cluster, TARGET), replicas(cluster, DRAFT)) == (2, 1)
    cluster.kube.scale(TARGET, 5, AUTOSCALER)
    cluster.kube.scale(DRAFT, 0, AUTOSCALER)
    cluster.watch()
    cluster.settle()
    assert (replicas(cluster, TARGET), replicas(cluster, DRAFT)) == (5, 0)
    cluster.edit(lambda spec: spec["target"].update(maxNumSeqs=3))
    cluster.settle()
    assert "--max-num-seqs=3" in str(cluster.told())
    assert (replicas(cluster, TARGET), replicas(cluster, DRAFT)) == (5, 0), "a change of all else leaves them"
    status = cluster.model["status"]
    assert (status["targetReplicas"], status["draftReplicas"]) == (5, 0)


def test_what_is_scaled_is_not_written_again_and_not_told_as_repaired() -> None:
    cluster = scaled_cluster(target=BETWEEN)
    cluster.kube.writes.clear()
    for wanted in (2, 5, 3):
        cluster.kube.scale(TARGET, wanted, AUTOSCALER)
        cluster.watch()
        cluster.settle()
    assert [place for verb, place in cluster.kube.writes if verb == "apply"] == []
    assert not [each for each in cluster.kube.events if each["reason"] == "Repaired"]


def test_autoscaling_of_a_fleet_that_runs_begins_with_the_fleet() -> None:
    cluster = Cluster()
    cluster.edit(lambda spec: spec["target"].update(replicas=6))
    cluster.settle()

    def scaled(spec: dict[str, Any]) -> None:
        del spec["target"]["replicas"]
        spec["autoscaling"] = {"target": BETWEEN}

    cluster.edit(scaled)
    cluster.settle()
    assert replicas(cluster, TARGET) == 6
    cluster.edit(lambda spec: spec["target"].update(maxNumSeqs=3))
    cluster.settle()
    assert replicas(cluster, TARGET) == 6, "nobody else has set them yet, and they do not fall back to one"


def test_a_restart_leaves_the_fleet_also_where_the_watch_has_not_told_of_it() -> None:
    cluster = scaled_cluster(target=BETWEEN)
    cluster.kube.scale(TARGET, 7, AUTOSCALER)
    cluster.restart()
    cluster.edit(lambda spec: spec["target"].update(maxNumSeqs=3))
    cluster.store.child_gone(cluster.kube.objects[TARGET], by_us=True)
    cluster.reconcile()
    assert "--max-num-seqs=3" in str(cluster.told())
    assert replicas(cluster, TARGET) == 7


def test_without_autoscaling_the_spec_says_how_many_again() -> None:
    cluster = scaled_cluster(target=BETWEEN)
    cluster.kube.scale(TARGET, 5, AUTOSCALER)
    cluster.watch()
    cluster.settle()
    cluster.edit(lambda spec: spec.pop("autoscaling"))
    cluster.settle()
    assert replicas(cluster, TARGET) == 1


def test_in_mode_advisory_replicas_hold() -> None:
    cluster = Cluster()
    cluster.edit(lambda spec: spec.update(autoscaling={"mode": "Advisory", "target": BETWEEN}))
    cluster.edit(lambda spec: spec["target"].update(replicas=3))
    cluster.settle()
    assert replicas(cluster, TARGET) == 3


@pytest.mark.parametrize("told", [True, False], ids=["the watch has told", "after a restart"])
def test_an_autoscaler_of_the_draft_is_left_its_replicas(told: bool) -> None:
    cluster = Cluster()
    cluster.settle()
    own = scaler("keda", "qwen-coder-draft")
    cluster.kube.add(own)
    cluster.kube.scale(DRAFT, 3, "kube-controller-manager")
    cluster.restart()
    if told:
        cluster.store.scaler_seen(own)
    cluster.settle()
    assert replicas(cluster, DRAFT) == 3
    cluster.kube.objects.pop(("HorizontalPodAutoscaler", "chat", "keda"))
    cluster.store.scaler_gone(own)
    cluster.settle()
    assert replicas(cluster, DRAFT) == 1, "it is gone, and the spec says how many"


def test_replicas_that_a_person_sets_by_hand_are_put_back() -> None:
    cluster = Cluster()
    cluster.settle()
    cluster.kube.scale(TARGET, 4, "kubectl")
    cluster.watch()
    cluster.settle()
    assert replicas(cluster, TARGET) == 1
    assert [each["reason"] for each in cluster.kube.events].count("Repaired") == 1


@pytest.mark.parametrize(("status", "lasting"), [(403, True), (503, False)])
def test_without_the_right_to_see_autoscalers_the_spec_holds(status: int, lasting: bool) -> None:
    cluster = Cluster()
    cluster.settle()
    cluster.edit(lambda spec: spec["target"].update(replicas=3))

    def refused(verb: str) -> None:
        if verb == "list":
            raise KubeError(status, "", "no")

    cluster.kube.before = refused
    cluster.settle()
    assert replicas(cluster, TARGET) == (3 if lasting else 1), "a server that is away is asked again first"
    cluster.kube.before = lambda _: None
    cluster.settle()
    assert replicas(cluster, TARGET) == 3
