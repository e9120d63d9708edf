"""OpenShift's and the Prometheus operator's APIs, stood in by CRDs for as long as a test wants them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import yaml
from cluster.kubectl import Kubectl
from support.schemas import STAND_INS


@contextmanager
def served(kubectl: Kubectl) -> Iterator[None]:
    """Only on a server of our own: another's may have the real ones. They go again, since other tests count the objects
    that a model has without them.
    """
    definitions = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in STAND_INS.glob("*.yaml")]
    names = [f"crd/{each['metadata']['name']}" for each in definitions]
    groups = {each["spec"]["group"] for each in definitions}
    kubectl("apply", "-f", str(STAND_INS))
    try:
        kubectl("wait", "--for=condition=Established", *names)
        kubectl.until(lambda: groups <= _groups(kubectl), "the server serves them")
        yield
    finally:
        kubectl("delete", "-f", str(STAND_INS))
        kubectl.until(lambda: not groups & _groups(kubectl), "the server serves them no more")


def _groups(kubectl: Kubectl) -> set[str]:
    return {line.partition("/")[0] for line in kubectl("api-versions").splitlines()}
