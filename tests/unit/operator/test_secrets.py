"""The Secrets that pods read: each in its folder, named by its flag, and none where nobody asks for it."""

from pathlib import PurePosixPath
from typing import Any

import kubernetes_validate
import pytest
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.build import build
from outrider_operator.resources.certificates import dns_names
from outrider_operator.resources.platform import Network, Platform
from unit.operator.yaml_models import model

DRAFT = {"model": {"uri": "hf://org/small"}}
AUTH = {"secretRef": {"name": "clients"}}
TLS = {"secretRef": {"name": "chat-example-com"}}


def pods(built_from: SpeculativeModel, platform: Platform | None = None) -> dict[str, dict[str, Any]]:
    """The pod of each role."""
    found = [thing for thing in build(built_from, platform or Platform()) if thing["kind"] == "Deployment"]
    specs = [thing["spec"]["template"]["spec"] for thing in found]
    return {spec["containers"][0]["name"]: spec for spec in specs}


def secrets(pod: dict[str, Any]) -> dict[str, str]:
    """Which Secret is behind which flag, by way of folder and volume; fails where one of the three is missing."""
    (container,) = pod["containers"]
    by_volume = {each["name"]: each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each}
    by_folder = {
        each["mountPath"]: by_volume[each["name"]] for each in container["volumeMounts"] if each["name"] in by_volume
    }
    assert sorted(by_folder.values()) == sorted(by_volume.values())
    args = [arg.split("=", 1) for arg in container["args"]]
    return {flag: by_folder[value] for flag, value in args if value in by_folder}


def test_draft_and_target_each_have_the_certificate_of_their_role() -> None:
    found = pods(model({"draft": DRAFT}))
    assert secrets(found["target"]) == {"--identity": "pair-target-tls"}
    assert secrets(found["draft"]) == {"--identity": "pair-draft-tls"}


def test_the_target_names_the_draft_as_its_certificate_does() -> None:
    pair = model({"draft": DRAFT})
    (container,) = pods(pair)["target"]["containers"]
    (address,) = [arg.removeprefix("--draft=dns:///") for arg in container["args"] if arg.startswith("--draft=")]
    assert address.rpartition(":")[0] in dns_names(pair, "draft")


@pytest.mark.parametrize("spec", [{}, {"draft": DRAFT, "speculation": {"mode": "Off"}}])
def test_without_a_draft_there_is_nobody_to_know(spec: dict[str, Any]) -> None:
    assert secrets(pods(model(spec))["target"]) == {}


def test_on_one_machine_they_speak_over_the_loopback_in_the_clear() -> None:
    here = Platform(network=Network(listen_host="127.0.0.1", local_drafts=("127.0.0.1:50051",)))
    assert all(secrets(pod) == {} for pod in pods(model({"draft": DRAFT}), here).values())


def test_keys_and_certificate_of_the_endpoint_are_the_targets() -> None:
    found = pods(model({"draft": DRAFT, "endpoint": {"auth": AUTH, "tls": TLS}}))
    of_endpoint = {"--api-keys": "clients", "--tls": "chat-example-com"}
    assert secrets(found["target"]) == {"--identity": "pair-target-tls", **of_endpoint}
    assert secrets(found["draft"]) == {"--identity": "pair-draft-tls"}


def test_probes_ask_in_https_where_the_target_answers_in_it() -> None:
    def schemes(pod: dict[str, Any]) -> set[str]:
        (container,) = pod["containers"]
        probes = [container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]
        return {probe["httpGet"].get("scheme", "HTTP") for probe in probes}

    https = pods(model({"draft": DRAFT, "endpoint": {"tls": TLS}}))
    assert schemes(https["target"]) == {"HTTPS"}
    assert schemes(https["draft"]) == {"HTTP"}, "its probes have no secrets, and Prometheus asks by address"
    assert schemes(pods(model({}))["target"]) == {"HTTP"}


def test_what_is_mounted_is_what_a_person_may_not_mount_over_and_valid_in_kubernetes() -> None:
    built = model({"draft": DRAFT, "endpoint": {"auth": AUTH, "tls": TLS}})
    for pod in pods(built).values():
        volumes = [each for each in pod["volumes"] if "secret" in each or "configMap" in each]
        mounts = [each for each in pod["containers"][0]["volumeMounts"] if each["name"].startswith("outrider-")]
        assert len(volumes) == len(mounts) > 0
        assert all(each["name"].startswith("outrider-") for each in volumes)
        assert all(PurePosixPath(each["mountPath"]).is_relative_to("/etc/outrider") for each in mounts)
        assert all(each["readOnly"] and "subPath" not in each for each in mounts)
    for item in build(built, Platform()):
        if item["kind"] == "Deployment":
            kubernetes_validate.validate(item, "1.30", strict=True)
