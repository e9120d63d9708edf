"""The CRD that comes with the chart: that of crds/, kept by an uninstall and brought up to date by an upgrade."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from support.chart import ROOT, Object, of_kind, rendered, the

SOURCE: Object = yaml.safe_load((ROOT / "crds" / "speculativemodels.outrider.dev.yaml").read_text(encoding="utf-8"))
RULES = "x-kubernetes-validations"


def crd(values: dict[str, Any] | None = None, **how: Any) -> Object:
    return the(rendered(values, **how), "CustomResourceDefinition")


def mappings(part: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of it, itself included."""
    if isinstance(part, dict):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from mappings(inner)


def without_rules(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: without_rules(inner) for name, inner in part.items() if name != RULES}
    return [without_rules(inner) for inner in part] if isinstance(part, list) else part


def test_it_is_that_of_crds() -> None:
    made = crd()
    assert made["metadata"]["name"] == SOURCE["metadata"]["name"]
    assert made["spec"] == SOURCE["spec"]


def test_an_uninstall_leaves_it_unless_that_is_asked_for() -> None:
    assert crd()["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "annotations" not in crd({"crds": {"keep": False}})["metadata"]


def test_it_is_no_hook_so_that_upgrades_change_it() -> None:
    assert not [name for name in crd()["metadata"]["annotations"] if name.startswith("helm.sh/hook")]


def test_somebody_else_may_install_it() -> None:
    assert of_kind(rendered({"crds": {"install": False}}), "CustomResourceDefinition") == []


@pytest.mark.parametrize("kubernetes", ["1.20.2", "1.24.17", "v1.24.9-eks-0123abc"])
def test_servers_that_know_no_rules_get_none(kubernetes: str) -> None:
    assert any(RULES in part for part in mappings(SOURCE))
    made = crd(kubernetes=kubernetes)
    assert made["spec"] == without_rules(SOURCE["spec"])


@pytest.mark.parametrize("kubernetes", ["1.25.0", "v1.25.3-gke.1200", "1.35.0"])
def test_servers_that_know_rules_get_them(kubernetes: str) -> None:
    assert crd(kubernetes=kubernetes)["spec"] == SOURCE["spec"]
