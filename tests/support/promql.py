"""The chart's dashboards and rules, and the expressions in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "outrider"
RULES = CHART / "rules" / "operator.yaml"
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
# What the rules' file has in the place of the release's namespace.
NAMESPACE = "outrider-system"

Panel = dict[str, Any]


class Query(NamedTuple):
    """One of a dashboard. name: its refId."""

    panel: str
    kind: str
    name: str
    expression: str


def rule_groups() -> dict[str, Any]:
    """The chart's rules, as Prometheus has them."""
    groups: dict[str, Any] = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return groups


def alerts(groups: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every rule of these groups, by its name."""
    return {rule["alert"]: rule for group in groups["groups"] for rule in group["rules"]}


def dashboard(file: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return read


def queries(file: Path) -> Iterator[Query]:
    for panel in dashboard(file)["panels"]:
        for target in panel["targets"]:
            yield Query(panel["title"], panel["type"], target["refId"], target["expr"])


def chosen(expression: str, interval: str, **variables: str) -> str:
    """The expression as Grafana sends it, with a value for each of the dashboard's variables."""
    values = {**variables, "__rate_interval": interval}
    return re.sub(r"\$(\w+)", lambda match: values[match[1]], expression)


def metrics_in(expression: str) -> set[str]:
    """Names of ours, as they are exported."""
    return set(re.findall(r"\boutrider_[a-z0-9_]+", expression))
