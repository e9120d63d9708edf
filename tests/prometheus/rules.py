"""Alerting rules under promtool: what fires when series go so."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Labels = Mapping[str, str]


class Rules:
    """A file's groups of alerting rules. Times are whole minutes, and so are the steps of series."""

    def __init__(self, promtool: Path, groups: Mapping[str, Any], folder: Path) -> None:
        self._promtool = promtool
        self._folder = folder
        self._file = folder / "rules.yaml"
        self._file.write_text(yaml.safe_dump(dict(groups), sort_keys=False), encoding="utf-8")
        self._alerts = {rule["alert"]: rule for group in groups["groups"] for rule in group["rules"]}

    def check(self) -> None:
        """Fails the test where Prometheus would not take the file."""
        self._run("check", "rules", str(self._file))

    def expect(self, series: Mapping[str, str], at: str, firing: Mapping[str, Sequence[Labels]]) -> None:
        """Fails the test unless, of all alerts, just these fire then.

        series: values a minute by series, in promtool's notation, such as 0+1x30. firing: by alert, the labels of each
        beyond those that the rule gives.
        """
        assert firing.keys() <= self._alerts.keys(), "there is no such alert"
        alert_rule_test = [
            {
                "eval_time": at,
                "alertname": name,
                "exp_alerts": [_expected(rule, labels) for labels in firing.get(name, ())],
            }
            for name, rule in self._alerts.items()
        ]
        test = {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": alert_rule_test,
        }
        content = {"rule_files": [str(self._file)], "evaluation_interval": "1m", "tests": [test]}
        file = self._folder / "scenario.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        self._run("test", "rules", str(file))

    def _run(self, *arguments: str) -> None:
        done = subprocess.run([str(self._promtool), *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"promtool {' '.join(arguments[:2])}:\n{done.stdout}{done.stderr}"


def _expected(rule: Mapping[str, Any], labels: Labels) -> dict[str, Any]:
    return {
        "exp_labels": {**labels, **rule["labels"]},
        "exp_annotations": {name: filled(text, labels) for name, text in rule["annotations"].items()},
    }


def filled(text: str, labels: Labels) -> str:
    """An annotation with the labels of what fires, as Prometheus fills it in."""
    return re.sub(r"{{ \$labels\.(\w+) }}", lambda match: labels[match[1]], text)
