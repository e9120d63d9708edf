"""What is written: what differs from what is wanted, nothing where nothing does; what is not wanted any more goes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from outrider_operator.api.validation import load
from outrider_operator.reconcile.difference import APPLIED, covers, difference, identity, stamped
from outrider_operator.resources.build import build
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.pod import Object

SAMPLE = Path(__file__).parents[3] / "manifests" / "samples" / "qwen-coder.yaml"
# One volume, mounted in two places.
TWICE = [{"name": "weights", "mountPath": "/a"}, {"name": "weights", "mountPath": "/b"}]


def wanted() -> list[Object]:
    (model,) = load(SAMPLE)
    return build(model, Platform())


def served(item: Object) -> Object:
    """The object as a server gives it: with what it filled in, and what it writes in another way."""
    live = copy.deepcopy(stamped(item))
    live["metadata"] |= {"uid": "u-" + "-".join(identity(item)), "resourceVersion": "7", "generation": 1}
    if item["kind"] == "Deployment":
        live["spec"]["revisionHistoryLimit"] = 10
        pod = live["spec"]["template"]["spec"]
        pod |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
        pod["containers"][0]["imagePullPolicy"] = "IfNotPresent"
        pod["containers"][0]["env"].append({"name": "ADDED", "value": "by another"})
        pod["volumes"].append({"name": "sidecar", "emptyDir": {}})
        live["status"] = {"replicas": 1}
    if item["kind"] == "Service":
        live["spec"] |= {"clusterIPs": ["10.0.0.1"], "sessionAffinity": "None"}
    return live


def test_nothing_there_all_is_applied_in_order() -> None:
    found = difference(wanted(), [])
    assert [identity(item) for item in found.apply] == [identity(item) for item in wanted()]
    assert not found.prune


def test_what_is_there_as_it_should_be_is_not_written_again() -> None:
    assert difference(wanted(), [served(item) for item in wanted()]).empty


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every scalar."""
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in leaves(inner, (*path, name))]
    if isinstance(value, list):
        return [leaf for index, inner in enumerate(value) for leaf in leaves(inner, (*path, index))]
    return [path]


def test_whatever_field_of_ours_another_changes_or_takes_is_put_back() -> None:
    for item in wanted():
        for path in leaves(item.get("spec", {}), ("spec",)):
            for change in ("changed", None):
                live = served(item)
                inner: Any = live
                for step in path[:-1]:
                    inner = inner[step]
                if change is None and isinstance(inner, dict):
                    del inner[path[-1]]
                else:
                    inner[path[-1]] = change
                assert not covers(live, stamped(item)), (identity(item), path)


def test_a_field_that_is_no_longer_wanted_is_applied_away() -> None:
    before = wanted()
    there = [served(item) for item in before]
    after = copy.deepcopy(before)
    deployment = next(item for item in after if item["kind"] == "Deployment")
    del deployment["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]
    assert [identity(item) for item in difference(after, there).apply] == [identity(deployment)]


def test_what_is_no_longer_wanted_is_pruned_unless_it_goes_already() -> None:
    there = [served(item) for item in wanted()]
    there[0]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    kept = [item for item in wanted() if identity(item) not in (identity(there[0]), identity(there[1]))]
    found = difference(kept, there)
    assert [identity(item) for item in found.prune] == [identity(there[1])]
    assert not found.apply


@pytest.mark.parametrize(
    ("live", "said", "same"),
    [
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "1000m"}}, True),
        ({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1024Mi"}}, True),
        ({"limits": {"memory": "2Gi"}}, {"limits": {"memory": "1024Mi"}}, False),
        ({"requests": {"cpu": "334m"}}, {"requests": {"cpu": "0.3333"}}, True),
        ({"requests": {"cpu": "334m"}}, {"requests": {"cpu": "333300u"}}, True),
        ({"requests": {"cpu": "333m"}}, {"requests": {"cpu": "0.3333"}}, False),
        ({"requests": {"memory": "1325598706238m"}}, {"requests": {"memory": "1.23456Gi"}}, True),
        ({"limits": {"nvidia.com/gpu": "1"}}, {"limits": {"nvidia.com/gpu": 1}}, True),
        ({"image": "1"}, {"image": "1000m"}, False),
        ({}, {"emptyDir": {}}, True),
        ({}, {"selector": {"a": "b"}}, False),
        ({"args": ["--a", "--b"]}, {"args": ["--a"]}, False),
        ({"args": ["--b", "--a"]}, {"args": ["--a", "--b"]}, False),
        ({"env": [{"name": "B"}, {"name": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "1"}]}, True),
        ({"volumeMounts": [*TWICE, {"name": "x", "mountPath": "/x"}]}, {"volumeMounts": TWICE}, True),
        ({"volumeMounts": TWICE[:1]}, {"volumeMounts": TWICE}, False),
        ({"env": [{"name": "HTTP_PROXY"}]}, {"env": [{"name": "HTTP_PROXY", "value": ""}]}, True),
        ({"env": [{"name": "HTTP_PROXY", "value": "a"}]}, {"env": [{"name": "HTTP_PROXY", "value": ""}]}, False),
        ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "a", "value": ""}]}, True),
        ({"volumeMounts": [TWICE[0]]}, {"volumeMounts": [{**TWICE[0], "readOnly": False}]}, True),
        (
            {"volumeMounts": [{**TWICE[0], "readOnly": True}]},
            {"volumeMounts": [{**TWICE[0], "readOnly": False}]},
            False,
        ),
        ({"nodeSelector": {"zone": "a"}}, {"nodeSelector": {"zone": "a", "node-role.kubernetes.io/gpu": ""}}, False),
        ({"nodeSelector": {"gpu": "", "zone": "a"}}, {"nodeSelector": {"gpu": ""}}, True),
        ({"matchLabels": {"team": "a"}}, {"matchLabels": {"team": "a", "ingress": ""}}, False),
        ({"selector": {"team": "a"}}, {"selector": {"team": "a", "ingress": ""}}, False),
        ({"labels": {"a": "b"}}, {"labels": {"a": "b", "c": ""}}, False),
        ({"annotations": {"a": "b"}}, {"annotations": {"a": "b", "c": ""}}, False),
        ({"data": {"a": "b"}}, {"data": {"a": "b", "c": ""}}, False),
        ({"stringData": {"a": "b"}}, {"stringData": {"a": "b", "c": ""}}, False),
        ({}, {"automountServiceAccountToken": False}, False),
        ({}, {"storageClassName": ""}, False),
        ({"maxSurge": 1}, {"maxSurge": 0}, False),
        ({}, {"maxSurge": 0}, False),
        ({"resourceFieldRef": {"divisor": "1"}}, {"resourceFieldRef": {"divisor": 1}}, True),
    ],
)
def test_the_same_in_other_words(live: Object, said: Object, same: bool) -> None:
    assert covers(live, said) is same


def test_the_stamp_is_of_what_is_said_and_nothing_else() -> None:
    item = next(item for item in wanted() if item["kind"] == "Service")
    stamp = stamped(item)["metadata"]["annotations"][APPLIED]
    assert stamped(copy.deepcopy(item))["metadata"]["annotations"][APPLIED] == stamp
    changed = copy.deepcopy(item)
    changed["spec"]["ports"][0]["port"] += 1
    assert stamped(changed)["metadata"]["annotations"][APPLIED] != stamp
