"""The models' pods are ones that Pod Security `restricted`, and so OpenShift's restricted-v2, lets run as they are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from outrider_operator.api.validation import load
from outrider_operator.resources.build import build
from outrider_operator.resources.platform import OPTIONAL_APIS, Platform
from support.pod_security import pod_of, violations
from support.schemas import VERSIONS, distinct, validate
from unit.operator.yaml_models import SAMPLES, model

# What a person may ask for beside the samples.
SECRET = {"secretRef": {"name": "chat"}}
DRAFT = {"model": {"uri": "hf://org/small"}}
ASKED: dict[str, dict[str, Any]] = {
    "a Route": {"draft": DRAFT, "endpoint": {"route": {"kind": "Route", "tls": SECRET}}},
    "HTTPS": {"draft": DRAFT, "endpoint": {"tls": SECRET, "route": {"kind": "Route"}}},
    "re-encryption": {"endpoint": {"tls": SECRET, "route": {"kind": "Route", "termination": "Reencrypt"}}},
    "a volume": {"storage": {"size": "1Gi", "accessModes": ["ReadWriteMany"]}},
    "a bucket": {"target": {"model": {"uri": "s3://models/big"}}},
}
EVERYTHING = Platform(operator_namespace="outrider-system", optional_apis=OPTIONAL_APIS)


def built() -> dict[str, list[dict[str, Any]]]:
    shipped = {file.stem: load(file)[0] for file in SAMPLES}
    asked = {name: model(spec) for name, spec in ASKED.items()}
    return {name: build(each, EVERYTHING) for name, each in {**shipped, **asked}.items()}


BUILT = built()


@pytest.mark.parametrize("version", VERSIONS)
def test_servers_old_and_new_take_every_object(version: str) -> None:
    for item in distinct(item for objects in BUILT.values() for item in objects):
        validate(item, version)


@pytest.mark.parametrize("objects", BUILT.values(), ids=BUILT.keys())
def test_every_pod_is_restricted(objects: list[dict[str, Any]]) -> None:
    pods = [pod for item in objects if (pod := pod_of(item)) is not None]
    assert pods
    for pod in pods:
        assert violations(pod) == []


@pytest.mark.parametrize("objects", BUILT.values(), ids=BUILT.keys())
def test_no_pod_asks_for_a_user_or_a_group(objects: list[dict[str, Any]]) -> None:
    """OpenShift gives them; one that asks for another is refused."""
    for pod in filter(None, map(pod_of, objects)):
        for context in [pod["securityContext"], *(each["securityContext"] for each in containers(pod))]:
            assert not {"runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"} & context.keys()


def containers(pod: Any) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def restricted_pod() -> dict[str, Any]:
    [deployment] = [item for item in BUILT["smollm2"] if item["kind"] == "Deployment"]
    return copy.deepcopy(dict(deployment["spec"]["template"]["spec"]))


def of_the_pod(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda pod: pod.update({name: value})


def of_its_context(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda pod: pod["securityContext"].update({name: value})


def of_a_container(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda pod: containers(pod)[0].update({name: value})


def of_its_security(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda pod: containers(pod)[0]["securityContext"].update({name: value})


LOOSENED = {
    "hostNetwork": of_the_pod("hostNetwork", True),
    "another type": of_the_pod("volumes", [{"name": "disk", "hostPath": {"path": "/"}}]),
    "sysctl": of_its_context("sysctls", [{"name": "kernel.msgmax", "value": "1"}]),
    "runAsUser is 0": of_its_context("runAsUser", 0),
    "SELinux": of_its_context("seLinuxOptions", {"type": "spc_t"}),
    "hostProcess": of_its_context("windowsOptions", {"hostProcess": True}),
    "no seccomp profile": of_its_context("seccompProfile", {"type": "Unconfined"}),
    "no AppArmor profile": of_its_context("appArmorProfile", {"type": "Unconfined"}),
    "privileged": of_its_security("privileged", True),
    "procMount": of_its_security("procMount", "Unmasked"),
    "allowPrivilegeEscalation": of_its_security("allowPrivilegeEscalation", True),
    "runAsNonRoot": of_its_security("runAsNonRoot", False),
    "are not dropped": of_its_security("capabilities", {}),
    "are added": of_its_security("capabilities", {"drop": ["ALL"], "add": ["NET_RAW"]}),
    "a port of the host": of_a_container("ports", [{"containerPort": 80, "hostPort": 80}]),
    "a probe of another host": of_a_container("livenessProbe", {"httpGet": {"host": "10.0.0.1", "port": 80}}),
}


@pytest.mark.parametrize(("told", "loosen"), LOOSENED.items(), ids=LOOSENED.keys())
def test_what_loosens_a_pod_is_noticed(told: str, loosen: Callable[[dict[str, Any]], None]) -> None:
    pod = restricted_pod()
    assert violations(pod) == []
    loosen(pod)
    assert any(told in each for each in violations(pod))


def test_a_pod_that_says_nothing_is_refused_for_all_that_it_does_not_say() -> None:
    assert violations({"containers": [{"name": "a"}]}) == [
        "a: allowPrivilegeEscalation is not false",
        "a: runAsNonRoot is not true",
        "a: seccompProfile is not set",
        "a: capabilities are not dropped",
    ]


def test_a_field_that_no_server_knows_is_noticed() -> None:
    [deployment] = [copy.deepcopy(item) for item in BUILT["smollm2"] if item["kind"] == "Deployment"]
    deployment["spec"]["replica"] = 1
    with pytest.raises(Exception, match="replica"):
        validate(deployment, VERSIONS[0])
    [route] = [copy.deepcopy(item) for item in BUILT["a Route"] if item["kind"] == "Route"]
    route["spec"]["hostname"] = "chat.example.com"
    with pytest.raises(Exception, match="hostname"):
        validate(route, VERSIONS[0])
