"""The podTemplate: what a person adds to the pods, and what stays as the operator builds it."""

from typing import Any

import kubernetes_validate
import pytest
from outrider_operator.resources.build import build
from outrider_operator.resources.names import selector
from outrider_operator.resources.overlay import overlaid
from outrider_operator.resources.platform import Platform
from unit.operator.yaml_models import model

DRAFT = {"model": {"uri": "hf://org/small"}}


def template(role: str = "target", **pod_template: Any) -> dict[str, Any]:
    """The pod template of a role whose podTemplate this is."""
    roles = {"target": {"model": {"uri": "hf://org/big"}}, "draft": DRAFT}
    pair = model(roles | {role: {**roles[role], "podTemplate": pod_template}})
    [deployment] = [
        thing
        for thing in build(pair, Platform())
        if thing["kind"] == "Deployment" and thing["metadata"]["name"] == f"pair-{role}"
    ]
    kubernetes_validate.validate(deployment, kubernetes_validate.latest_version(), strict=True)
    found = deployment["spec"]["template"]
    assert isinstance(found, dict)
    return found


def container(role: str = "target", **pod_template: Any) -> dict[str, Any]:
    [found] = template(role, **pod_template)["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_an_empty_one_changes_nothing() -> None:
    pair = model({"draft": DRAFT})
    bare = [thing["spec"]["template"] for thing in build(pair, Platform()) if thing["kind"] == "Deployment"]
    assert [template("draft"), template("target")] == bare


@pytest.mark.parametrize("role", ["target", "draft"])
def test_each_role_has_its_own(role: str) -> None:
    other = "draft" if role == "target" else "target"
    pair = model(
        {
            "target": {"model": {"uri": "hf://org/big"}},
            "draft": DRAFT,
            role: {"model": {"uri": "hf://org/x"}, "podTemplate": {"nodeSelector": {"pool": "models"}}},
        }
    )
    selected = {
        thing["metadata"]["name"]: thing["spec"]["template"]["spec"].get("nodeSelector")
        for thing in build(pair, Platform())
        if thing["kind"] == "Deployment"
    }
    assert selected == {f"pair-{role}": {"pool": "models"}, f"pair-{other}": None}


def test_where_the_pods_run_is_as_it_is_said() -> None:
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    made = template(
        annotations={"example.com/team": "assistants"},
        nodeSelector={"pool": "models"},
        tolerations=[toleration],
        priorityClassName="high",
        runtimeClassName="nvidia",
        imagePullSecrets=[{"name": "registry"}],
    )
    assert made["metadata"]["annotations"] == {"example.com/team": "assistants"}
    expected = {
        "nodeSelector": {"pool": "models"},
        "tolerations": [toleration],
        "priorityClassName": "high",
        "runtimeClassName": "nvidia",
        "imagePullSecrets": [{"name": "registry"}],
    }
    assert {name: made["spec"][name] for name in expected} == expected


def test_variables_are_added_and_win_over_the_operators() -> None:
    secret = {"secretKeyRef": {"name": "hub", "key": "token"}}
    said = [{"name": "OMP_WAIT_POLICY", "value": "ACTIVE"}, {"name": "HF_TOKEN", "valueFrom": secret}]
    env = container(env=said)["env"]
    names = [entry["name"] for entry in env]
    assert len(names) == len(set(names))
    assert {entry["name"]: entry.get("value") for entry in env}["OMP_WAIT_POLICY"] == "ACTIVE"
    assert {"name": "HF_TOKEN", "valueFrom": secret} in env
    assert {"name": "HOME", "value": "/home/outrider"} in env


def test_a_variable_in_the_place_of_the_operators_may_name_those_said_before_it() -> None:
    said = [
        {"name": "BASE", "value": "/cache/mine"},
        {"name": "HF_HOME", "value": "$(BASE)/hf"},
        {"name": "TRITON_CACHE_DIR", "value": "$(HF_HOME)/../triton of $(HOME)"},
    ]
    env = container(env=said)["env"]
    # A kubelet knows in a value what stands before it: HOME is the operator's own.
    assert env[-3:] == said
    assert "HOME" in [entry["name"] for entry in env[:-3]]
    assert len({entry["name"] for entry in env}) == len(env)


def test_a_volume_takes_the_place_of_the_operators_of_its_name() -> None:
    shm = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Gi"}}
    weights = {"name": "weights", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}}
    volumes = template(volumes=[shm, weights])["spec"]["volumes"]
    assert [volume["name"] for volume in volumes] == [
        *("home", "cache", "tmp", "shm", "outrider-control", "outrider-identity", "weights"),
    ]
    assert [volume for volume in volumes if volume["name"] in ("shm", "weights")] == [shm, weights]


def test_mounts_are_merged_by_their_folder() -> None:
    volumes = [{"name": "weights", "persistentVolumeClaim": {"claimName": "weights"}}]
    said = [
        {"name": "weights", "mountPath": "/models", "readOnly": True},
        {"name": "weights", "mountPath": "/cache", "subPath": "cache"},
    ]
    mounts = container(volumes=volumes, volumeMounts=said)["volumeMounts"]
    assert [mount for mount in mounts if mount["mountPath"] in ("/models", "/cache")] == [said[1], said[0]]
    assert {"name": "home", "mountPath": "/home/outrider"} in mounts


def test_affinity_is_added_to_what_puts_the_draft_near_the_target() -> None:
    term = {"topologyKey": "topology.kubernetes.io/zone", "labelSelector": {"matchLabels": {"app": "gateway"}}}
    own = {"weight": 5, "podAffinityTerm": term}
    disk = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["fast"]}]}
    needed = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [disk]}}
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    affinity = template("draft", affinity={"podAffinity": {preferred: [own]}, "nodeAffinity": needed})["spec"][
        "affinity"
    ]
    [operators, users] = affinity["podAffinity"][preferred]
    assert operators["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    assert users == own
    assert affinity["nodeAffinity"] == needed


def test_pods_are_spread_among_their_own_unless_others_are_named() -> None:
    zones = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
    named = {**zones, "labelSelector": {"matchLabels": {"app": "x"}}, "minDomains": 2}
    named["whenUnsatisfiable"] = "DoNotSchedule"
    first, second = template(topologySpreadConstraints=[zones, named])["spec"]["topologySpreadConstraints"]
    assert first == {**zones, "labelSelector": {"matchLabels": selector(model({}), "target")}}
    assert second == named


def test_containers_that_run_before_get_variables_and_mounts_too() -> None:
    pair = model(
        {"target": {"model": {"uri": "hf://a/b"}, "podTemplate": {"env": [{"name": "HTTPS_PROXY", "value": "p"}]}}}
    )
    overlay = pair.spec.target.pod_template
    assert overlay is not None
    built = {"metadata": {}, "spec": {"initContainers": [{"name": "fetch"}], "containers": [{"name": "target"}]}}
    made = overlaid(built, overlay, {})["spec"]
    env = [{"name": "HTTPS_PROXY", "value": "p"}]
    assert made["initContainers"] == [{"name": "fetch", "env": env}]
    assert made["containers"] == [{"name": "target", "env": env}]


def test_no_overlay_lifts_what_keeps_a_pod_restricted() -> None:
    spec = template(
        volumes=[{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
        env=[{"name": "A", "value": "1"}],
    )["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
