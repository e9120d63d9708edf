"""What is rendered and kept: manifests/ for those without Helm, and snapshots that show what a change does."""

from __future__ import annotations

import pytest
import yaml
from support.chart import NAMESPACE, ROOT, objects, rendered, the
from support.manifests import Kept, kept

KEPT = {str(each.path.relative_to(ROOT)): each for each in kept()}
INSTALL = KEPT["manifests/install.yaml"]


@pytest.mark.parametrize("file", KEPT.values(), ids=KEPT.keys())
def test_it_is_what_the_chart_renders(file: Kept) -> None:
    """Otherwise: make manifests, and look at the difference."""
    assert file.path.exists(), "run `make manifests`"
    assert objects(file.path.read_text(encoding="utf-8")) == objects(file.render())


def test_no_object_of_it_says_that_helm_looks_after_it() -> None:
    for name in ("manifests/install.yaml", "manifests/operator/rbac.yaml"):
        text = KEPT[name].render()
        assert "helm.sh/" not in text
        assert "Helm\n" not in text


def test_without_helm_the_namespace_comes_first_and_enforces_restricted() -> None:
    [first, *others] = yaml.safe_load_all(INSTALL.render())
    assert (first["kind"], first["metadata"]["name"]) == ("Namespace", NAMESPACE)
    assert first["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    assert {item["metadata"].get("namespace", NAMESPACE) for item in others} == {NAMESPACE}


def test_without_helm_all_else_is_as_with_it() -> None:
    with_helm = {identity for identity in rendered() if identity[0] != "Pod"}
    without = objects(INSTALL.render()).keys()
    assert without - with_helm == {("Namespace", "", NAMESPACE)}
    assert with_helm <= without


def test_an_operator_outside_of_the_cluster_has_the_same_rights() -> None:
    rights = objects(KEPT["manifests/operator/rbac.yaml"].render())
    installed = rendered()["ClusterRole", "", "outrider-operator"]
    assert the(rights, "ClusterRole")["rules"] == installed["rules"]
    assert the(rights, "ServiceAccount")["metadata"]["namespace"] == NAMESPACE
