"""Everything that the chart makes, with all values that it is tested with: servers old and new take it, and Pod Security's
`restricted` lets its pods run, under whatever user."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from support.chart import Identity, Object, of_kind, rendered
from support.manifests import SERVED, values_of
from support.pod_security import pod_of, violations
from support.schemas import VERSIONS, validate


def everything(name: str) -> dict[Identity, Object]:
    """All that these values make, and what they leave out to keep the snapshots short."""
    shown: dict[str, Any] = {"crds": {"install": True}, "dashboard": {"enabled": True}}
    return rendered({**values_of(name), **shown}, serves=SERVED[name])


@pytest.fixture(params=SERVED, scope="module")
def items(request: pytest.FixtureRequest) -> dict[Identity, Object]:
    return everything(request.param)


@pytest.mark.parametrize("version", VERSIONS)
def test_servers_of_all_versions_take_it(items: dict[Identity, Object], version: str) -> None:
    for item in items.values():
        validate(item, version)


def test_its_pods_keep_to_restricted(items: dict[Identity, Object]) -> None:
    pods = {name: pod for name, item in items.items() if (pod := pod_of(item)) is not None}
    assert pods
    assert {name: violations(pod) for name, pod in pods.items()} == {name: [] for name in pods}


def test_its_pods_name_no_user_and_write_to_no_root(items: dict[Identity, Object]) -> None:
    """OpenShift's restricted-v2 gives each namespace users of its own."""
    for item in items.values():
        pod = pod_of(item)
        if pod is None:
            continue
        contexts = [pod["securityContext"], *(each["securityContext"] for each in pod["containers"])]
        assert not {"runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"} & {key for each in contexts for key in each}
        assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in pod["containers"])


def test_it_names_no_registry(items: dict[Identity, Object]) -> None:
    """But the one that the values name."""
    images = {
        container["image"]
        for item in items.values()
        if (pod := pod_of(item)) is not None
        for container in pod["containers"]
    }
    assert {image for image in images if "/" in image and not image.startswith("registry.example.com/")} == set()


def test_quantities_and_texts_are_what_they_look_like(items: dict[Identity, Object]) -> None:
    """A label or an annotation that YAML reads as a number or as true is refused by every server."""
    for item in items.values():
        metadata = item["metadata"]
        for text in (*metadata.get("labels", {}).values(), *metadata.get("annotations", {}).values()):
            assert isinstance(text, str), yaml.safe_dump(metadata)


def test_nothing_is_left_of_what_can_be_left_out() -> None:
    """Minimal values make the operator, its account, its rights and the way to its metrics."""
    minimal = rendered(values_of("minimal"))
    assert sorted(kind for kind, _, _ in minimal) == [
        "ClusterRole",
        "ClusterRoleBinding",
        "Deployment",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
    ]
    [deployment] = of_kind(minimal, "Deployment")
    assert deployment["spec"]["replicas"] == 1
    assert "resources" not in deployment["spec"]["template"]["spec"]["containers"][0]
