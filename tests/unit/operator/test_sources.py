"""Each address of a model, and what of it is in the pod."""

import re
from typing import Any

import kubernetes_validate
import pytest
from outrider_operator.resources.build import build
from outrider_operator.resources.platform import Platform
from unit.operator.test_build import container, keeps_to_restricted_v2, pod
from unit.operator.yaml_models import model

SECRET: dict[str, Any] = {"secretRef": {"name": "hub-token"}}
MODEL_MOUNT = {"name": "outrider-model", "mountPath": "/etc/outrider/model", "readOnly": True}


def pod_of(uri: str, platform: Platform | None = None, **fields: Any) -> dict[str, Any]:
    """The pod of a target whose model is at `uri`, valid and restricted."""
    role = {"model": {"uri": uri, **fields}, "resources": {"requests": {"cpu": 4, "memory": "8Gi"}}}
    served = model({"target": role})
    for thing in build(served, platform or Platform()):
        kubernetes_validate.validate(thing, kubernetes_validate.latest_version(), strict=True)
    target = pod(served, "target", platform)
    # An SCC names the image volumes that it allows; Pod Security's restricted allows them all.
    keeps_to_restricted_v2({**target, "volumes": [each for each in target["volumes"] if "image" not in each]})
    return target


def model_flags(pod: dict[str, Any]) -> list[str]:
    [container] = pod["containers"]
    return [arg for arg in container["args"] if arg.startswith(("--model=", "--revision="))]


@pytest.mark.parametrize(
    ("uri", "name"), [("hf://org/big", "big"), ("s3://bucket/some/prefix/", "prefix")], ids=["hf", "s3"]
)
def test_a_remote_model_is_fetched_into_the_cache_before_its_role_starts(uri: str, name: str) -> None:
    pod = pod_of(uri, **SECRET)
    [fetch], [serve] = pod["initContainers"], pod["containers"]
    assert fetch["name"] == "fetch-model"
    assert fetch["command"] == ["outrider-models"]
    verb, address, folder = fetch["args"]
    assert (verb, address) == ("fetch", uri)
    assert folder.startswith("/cache/models/")
    assert folder.endswith(f"/{name}")
    assert model_flags(pod) == [f"--model=file://{folder}"]
    assert fetch["envFrom"] == [{"secretRef": {"name": "hub-token"}}]
    assert "envFrom" not in serve
    assert {"name": "cache", "mountPath": "/cache"} in fetch["volumeMounts"]
    for field in ("image", "env", "securityContext"):
        assert fetch[field] == serve[field]
    # The last line of its log is what `kubectl describe pod` shows.
    assert fetch["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_a_fetch_asks_for_no_more_than_its_role_but_never_for_its_gpus() -> None:
    limits = {"cpu": 4, "memory": "8Gi", "nvidia.com/gpu": 1}
    own = model({"target": {"model": {"uri": "hf://org/big"}, "resources": {"limits": limits, "requests": limits}}})
    [fetch] = pod(own, "target")["initContainers"]
    [serve] = pod(own, "target")["containers"]
    same = {name: amount for name, amount in serve["resources"]["limits"].items() if name != "nvidia.com/gpu"}
    # The same, so that a pod of the class Guaranteed, which alone has cores of its own, stays in it.
    assert fetch["resources"] == {"limits": same, "requests": same}
    assert len(same) == 2
    [fetch] = pod(model({}), "target")["initContainers"]
    assert fetch["resources"] == {"requests": {"cpu": "100m", "memory": "256Mi"}}


def test_a_revision_is_fetched_and_has_a_folder_of_its_own() -> None:
    main, tagged = pod_of("hf://org/big"), pod_of("hf://org/big", revision="refs/pr/1")
    assert tagged["initContainers"][0]["args"][-1] == "--revision=refs/pr/1"
    assert model_flags(main) != model_flags(tagged)
    assert len(model_flags(tagged)) == 1


def as_a_kubelet_starts_it(container: dict[str, Any]) -> list[str]:
    """The arguments once $$ and $(NAME) have been read in them."""
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    return [
        re.sub(r"\$\$|\$\((.*?)\)", lambda found: env.get(found[1], found[0]) if found[1] else "$", arg)
        for arg in container["args"]
    ]


@pytest.mark.parametrize(
    ("uri", "served"),
    [
        ("pvc://models/team$$a/m$", "file:///etc/outrider/model/team$$a/m$"),
        ("file:///models/$(HOME)/$$(HOME)", "file:///models/$(HOME)/$$(HOME)"),
    ],
)
def test_a_dollar_in_an_address_is_one_in_the_pod(uri: str, served: str) -> None:
    [serve] = pod_of(uri)["containers"]
    assert as_a_kubelet_starts_it(serve)[0] == f"--model={served}"


def test_a_dollar_in_an_address_is_one_in_the_download() -> None:
    uri = "s3://bucket/$(HOME)/m$$"
    pod = pod_of(uri, Platform(model_mirror="https://models.example/$$a"))
    [fetch], [serve] = pod["initContainers"], pod["containers"]
    _, address, folder = as_a_kubelet_starts_it(fetch)
    assert address == uri
    assert folder.endswith("/m$$")
    assert as_a_kubelet_starts_it(serve)[0] == f"--model=file://{folder}"
    assert {"name": "OUTRIDER_MODEL_MIRROR", "value": "https://models.example/$$$$a"} in fetch["env"]


def test_replicas_and_roles_share_the_folder_of_one_model() -> None:
    role = {"model": {"uri": "hf://org/big"}}
    same = model({"target": role, "draft": role})
    assert pod(same, "target")["initContainers"][0]["args"] == pod(same, "draft")["initContainers"][0]["args"]


def test_a_model_on_a_claim_is_mounted_read_only() -> None:
    pod = pod_of("pvc://models/org/big")
    assert model_flags(pod) == ["--model=file:///etc/outrider/model/org/big"]
    claim = {"claimName": "models", "readOnly": True}
    assert {"name": "outrider-model", "persistentVolumeClaim": claim} in pod["volumes"]
    assert MODEL_MOUNT in pod["containers"][0]["volumeMounts"]
    assert "initContainers" not in pod


@pytest.mark.parametrize(
    ("reference", "pull_policy"),
    [
        ("registry.example:5000/org/big:1.0", "IfNotPresent"),
        ("registry.example:5000/org/big:latest", "Always"),
        ("registry.example:5000/org/big", "Always"),
        (f"registry.example/org/big@sha256:{'a' * 64}", "IfNotPresent"),
    ],
)
def test_a_model_in_an_image_is_mounted_read_only_and_pulled_with_the_secret(reference: str, pull_policy: str) -> None:
    pod = pod_of(f"oci://{reference}", **SECRET)
    assert model_flags(pod) == ["--model=file:///etc/outrider/model"]
    assert {"name": "outrider-model", "image": {"reference": reference, "pullPolicy": pull_policy}} in pod["volumes"]
    assert MODEL_MOUNT in pod["containers"][0]["volumeMounts"]
    assert pod["imagePullSecrets"] == [{"name": "hub-token"}]
    assert "initContainers" not in pod


def test_a_path_is_of_the_image_or_of_a_volume_that_the_pod_template_mounts() -> None:
    pod = pod_of("file:///models/big")
    assert model_flags(pod) == ["--model=file:///models/big"]
    assert "initContainers" not in pod


def test_a_mirror_at_a_url_is_told_to_the_fetch() -> None:
    pod = pod_of("hf://org/big", Platform(model_mirror="https://models.example"))
    [fetch] = pod["initContainers"]
    assert {"name": "OUTRIDER_MODEL_MIRROR", "value": "https://models.example"} in fetch["env"]


def test_a_mirror_in_the_container_is_served_from_unless_the_model_has_a_secret() -> None:
    platform = Platform(model_mirror="/models")
    pod = pod_of("hf://org/big", platform, revision="v1")
    assert model_flags(pod) == ["--model=hf://org/big", "--revision=v1"]
    assert "initContainers" not in pod
    assert "initContainers" in pod_of("hf://org/big", platform, **SECRET)
    assert "initContainers" in pod_of("s3://bucket/big", platform)


def test_no_secret_is_ever_an_argument_or_a_value() -> None:
    fetched = model({"target": {"model": {"uri": "hf://org/big", **SECRET}}})
    assert all("valueFrom" not in entry for entry in container(fetched, "target")["env"])
    assert not any("token" in arg for arg in pod(fetched, "target")["initContainers"][0]["args"])
