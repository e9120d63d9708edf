"""What is rendered from the chart and kept: manifests/, and the snapshots of the tests. `make manifests` writes them.

Compared as objects, not as text: another Helm may set and order its YAML in other ways.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cluster.errors import NoCluster

from support.chart import CHART, MONITORING, NAMESPACE, ROOT, ROUTES, Refused, objects, template

SNAPSHOTS = ROOT / "tests" / "unit" / "charts" / "snapshots"
# Helm's marks, and what says that Helm looks after an object: of no use without it.
SOURCE = re.compile(r"^# Source: .*\n", re.MULTILINE)
OF_HELM = re.compile(r"^ +(helm\.sh/chart: .*|app\.kubernetes\.io/managed-by: Helm)\n", re.MULTILINE)

INSTALL = f"""\
# Outrider without Helm: kubectl apply -f manifests/install.yaml
# Rendered from charts/outrider by `make manifests`: do not edit.
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""
RIGHTS = """\
# The operator's account and rights alone, for an operator that runs outside of the cluster.
# Rendered from charts/outrider by `make manifests`: do not edit.
"""
SNAPSHOT = "# Rendered from charts/outrider/ci/{name} by `make manifests`: do not edit.\n"


@dataclass(frozen=True)
class Kept:
    """A file, and what it is rendered from. head: what stands before it. for_helm: whether Helm's labels stay."""

    path: Path
    head: str
    values: Mapping[str, Any]
    flags: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()
    for_helm: bool = False

    def render(self) -> str:
        """Raises Refused."""
        text = SOURCE.sub("", template(self.values, *self.flags, serves=self.serves))
        return self.head + (text if self.for_helm else OF_HELM.sub("", text))

    def is_stale(self) -> bool:
        """Raises Refused."""
        return not self.path.exists() or objects(self.path.read_text(encoding="utf-8")) != objects(self.render())


# By the name of their values: the APIs that the cluster serves beside Kubernetes' own.
SERVED: dict[str, tuple[str, ...]] = {
    "cluster": (MONITORING,),
    "namespaced": (),
    "openshift": (MONITORING, ROUTES),
    "minimal": (),
}


def values_of(name: str) -> Mapping[str, Any]:
    """The values of charts/outrider/ci."""
    text = (CHART / "ci" / f"{name}-values.yaml").read_text(encoding="utf-8")
    read: Mapping[str, Any] = yaml.safe_load(text) or {}
    return read


def kept() -> tuple[Kept, ...]:
    rights = [f"--show-only=templates/{name}.yaml" for name in ("serviceaccount", "rbac")]
    return (
        # Nothing but Helm heeds what keeps the CRD.
        Kept(ROOT / "manifests" / "install.yaml", INSTALL, {"crds": {"keep": False}}, ("--no-hooks",)),
        Kept(ROOT / "manifests" / "operator" / "rbac.yaml", RIGHTS, {}, tuple(rights)),
        *(
            Kept(
                SNAPSHOTS / f"{name}.yaml",
                SNAPSHOT.format(name=f"{name}-values.yaml"),
                values_of(name),
                serves=serves,
                for_helm=True,
            )
            for name, serves in SERVED.items()
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when one is out of date")
    check = parser.parse_args().check
    try:
        for each in kept():
            if check and each.is_stale():
                sys.exit(f"{each.path.relative_to(ROOT)} differs from what the chart renders: run `make manifests`")
            if not check:
                each.path.parent.mkdir(parents=True, exist_ok=True)
                each.path.write_text(each.render(), encoding="utf-8")
    except (NoCluster, Refused) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
