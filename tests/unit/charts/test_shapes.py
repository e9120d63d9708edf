"""What holds for everything that the chart makes, whatever the values."""

from __future__ import annotations

import pytest
import yaml
from support.chart import Identity, Object, rendered, the
from support.manifests import SERVED, values_of
from support.pod_security import pod_of


@pytest.fixture(params=SERVED, scope="module")
def items(request: pytest.FixtureRequest) -> dict[Identity, Object]:
    """All that these values make."""
    name: str = request.param
    return rendered(values_of(name), serves=SERVED[name])


def test_it_names_no_registry_but_that_of_the_values(items: dict[Identity, Object]) -> None:
    pods = [pod for item in items.values() if (pod := pod_of(item)) is not None]
    images = {container["image"] for pod in pods for container in pod["containers"]}
    assert images
    assert {image for image in images if "/" in image and not image.startswith("registry.example.com/")} == set()


def test_labels_and_annotations_are_texts(items: dict[Identity, Object]) -> None:
    """One that YAML reads as a number or as true is refused by every server."""
    for item in items.values():
        metadata = item["metadata"]
        for text in (*metadata.get("labels", {}).values(), *metadata.get("annotations", {}).values()):
            assert isinstance(text, str), yaml.safe_dump(metadata)


def test_of_what_can_be_left_out_nothing_is_left() -> None:
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
    operator = the(minimal, "Deployment")["spec"]
    assert operator["replicas"] == 1
    assert "resources" not in operator["template"]["spec"]["containers"][0]
