"""values.yaml, its schema, its table and the templates: they say the same, and Helm refuses what they do not know."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.chart import CHART, ROOT, Refused, helm, rendered
from support.manifests import SERVED

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
USED = re.compile(r"\.Values((?:\.[A-Za-z]+)+)")


def fields(schema: dict[str, Any] = SCHEMA, path: str = "") -> Iterator[str]:
    """Path of every value that is not a group."""
    for name, inner in schema["properties"].items():
        if "properties" in inner:
            yield from fields(inner, f"{path}.{name}")
        else:
            yield f"{path}.{name}"


def used() -> set[str]:
    """What the templates read, by path. `.Values.a.b` reads b of a; `.Values.a` alone all of a."""
    texts = [file.read_text(encoding="utf-8") for file in sorted((CHART / "templates").rglob("*")) if file.is_file()]
    return {path for text in texts for path in USED.findall(text)}


def test_schema_table_and_crd_follow_from_their_sources() -> None:
    command = [sys.executable, str(ROOT / "operator" / "hack" / "generate_chart_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_value_is_used_by_a_template_and_templates_use_no_other() -> None:
    known = {*fields(), *(f".{name}" for name in SCHEMA["properties"])}
    assert used() <= known
    unused = {path for path in fields() if not {path, path.rpartition(".")[0]} & used()}
    assert unused == {".global"}


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"replica": 3}, "replica"),
        ({"image": {"name": "mine"}}, "/image"),
        ({"image": {"tag": 1.0}}, "/image/tag"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"replicas": "two"}, "/replicas"),
        ({"replicas": -1}, "/replicas"),
        ({"namespaces": "chat"}, "/namespaces"),
        ({"namespaces": ["chat", "chat"]}, "/namespaces"),
        ({"namespaces": ["Chat"]}, "/namespaces/0"),
        ({"serviceMonitor": {"enabled": "yes"}}, "/serviceMonitor/enabled"),
        ({"serviceMonitor": {"interval": "often"}}, "/serviceMonitor/interval"),
        ({"prometheus": {"url": "thanos-querier:9091"}}, "/prometheus/url"),
        ({"podDisruptionBudget": {"minAvailable": 0}}, "/podDisruptionBudget/minAvailable"),
        ({"podDisruptionBudget": {"minAvailable": "half"}}, "/podDisruptionBudget/minAvailable"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "/topologySpreadConstraints/0"),
        ({"test": {"model": "a/b/c"}}, "/test/model"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_place(values: dict[str, Any], place: str) -> None:
    with pytest.raises(Refused, match=place):
        rendered(values)


def test_a_chart_above_this_one_may_have_values_for_all() -> None:
    assert rendered({"global": {"team": "platform"}}) == rendered()


def test_the_chart_is_released_with_the_operator() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "operator" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert chart["version"] == chart["appVersion"] == project["version"]


def test_all_values_of_ci_are_tested() -> None:
    assert {file.name.removesuffix("-values.yaml") for file in (CHART / "ci").glob("*.yaml")} == SERVED.keys()


@pytest.mark.parametrize("values", [None, *sorted((CHART / "ci").glob("*.yaml"))], ids=lambda file: file and file.stem)
def test_helm_finds_nothing_to_say(values: Path | None) -> None:
    flags = [] if values is None else [f"--values={values}"]
    helm("lint", str(CHART), "--strict", "--quiet", "--namespace=outrider-system", *flags)


def test_packed_it_renders_the_same(tmp_path: Path) -> None:
    """.helmignore leaves nothing out that it needs."""
    helm("package", str(CHART), f"--destination={tmp_path}")
    [package] = tmp_path.glob("*.tgz")
    packed = helm("template", "outrider", str(package), "--namespace=outrider-system")
    assert packed == helm("template", "outrider", str(CHART), "--namespace=outrider-system")
