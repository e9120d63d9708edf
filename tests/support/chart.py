"""The chart as the real Helm renders it. Without a cluster: what one serves is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from cluster.errors import NoCluster
from cluster.tools import find_tool, get_tool

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "outrider"
RELEASE = "outrider"
NAMESPACE = "outrider-system"
# Of the rules in CEL on, which older servers do not know.
KUBERNETES = "1.35.0"
MONITORING = "monitoring.coreos.com/v1"
ROUTES = "route.openshift.io/v1"

Object = dict[str, Any]
Identity = tuple[str, str, str]  # kind, namespace, name


class Refused(Exception):
    """Helm does not render these values; its own words."""


@cache
def program() -> Path:
    """Raises NoCluster, with how to get it, where there is no Helm."""
    found = find_tool("helm")
    if found is None:
        raise NoCluster("there is no helm: run `make helm`, which fetches it once, or set HELM to one")
    return found


@cache
def helm(*arguments: str, stdin: str = "") -> str:
    """What it prints. Run once for the same arguments. Raises Refused."""
    done = subprocess.run([str(program()), *arguments], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stderr or done.stdout)
    return done.stdout


def template(
    values: Mapping[str, Any] | None = None,
    *flags: str,
    release: str = RELEASE,
    kubernetes: str = KUBERNETES,
    serves: Sequence[str] = (),
) -> str:
    """The text of all objects. serves: APIs beside Kubernetes' own. Raises Refused."""
    return helm(
        "template",
        release,
        str(CHART),
        f"--namespace={NAMESPACE}",
        f"--kube-version={kubernetes}",
        *(f"--api-versions={api}" for api in serves),
        *flags,
        "--values=-",
        stdin=yaml.safe_dump(dict(values or {})),
    )


@cache
def objects(text: str) -> dict[Identity, Object]:
    """The objects of a text, which are to be read only: they are parsed once. Fails where it names one twice."""
    found: dict[Identity, Object] = {}
    for item in yaml.load_all(text, yaml.CSafeLoader):
        if item is None:
            continue
        metadata = item["metadata"]
        identity = (item["kind"], metadata.get("namespace", ""), metadata["name"])
        assert identity not in found, f"twice: {identity}"
        found[identity] = item
    return found


def rendered(values: Mapping[str, Any] | None = None, **how: Any) -> dict[Identity, Object]:
    """What the chart makes of these values; how: as `template` takes it."""
    return objects(template(values, **how))


def of_kind(items: Mapping[Identity, Object], kind: str) -> list[Object]:
    return [item for (its_kind, _, _), item in items.items() if its_kind == kind]


def the(items: Mapping[Identity, Object], kind: str) -> Object:
    """The one object of that kind."""
    [found] = of_kind(items, kind)
    return found


def main() -> None:
    """`make helm`: has Helm fetched where there is none, and says where it is."""
    try:
        print(get_tool("helm"))
    except NoCluster as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
