"""What a person does with kubectl, and what they read."""

from __future__ import annotations

import re

import pytest
from cluster.kubectl import Kubectl
from cluster.operator_process import ROOT
from integration.operator.cluster_state import NAME, until_complete, until_ready

SAMPLES = ROOT / "manifests" / "samples"


@pytest.mark.usefixtures("operator")
def test_apply_get_describe_wait_and_delete_of_the_samples(kubectl: Kubectl, namespace: str) -> None:
    applied = kubectl("apply", "--validate=false", "-n", namespace, "-f", str(SAMPLES))
    names = re.findall(r"^speculativemodel\.outrider\.dev/(\S+) created$", applied, re.MULTILINE)
    assert NAME in names
    assert len(names) == len(list(SAMPLES.glob("*.yaml")))
    others = [name for name in names if name != NAME]
    kubectl("delete", "smodel", *others, "-n", namespace)
    until_complete(kubectl, namespace)
    until_ready(kubectl, namespace)

    header, *rows = kubectl("get", "smodel", "-n", namespace).splitlines()
    assert header.split()[:4] == ["NAME", "READY", "TARGET", "DRAFT"]
    (row,) = rows
    assert row.split()[:2] == [NAME, "True"]
    assert f"http://{NAME}-target.{namespace}.svc" in row
    assert NAME in kubectl("get", "outrider", "-n", namespace)

    told = kubectl("describe", "smodel", NAME, "-n", namespace)
    for said in ("Accepted", "TargetReady", "DraftReady", "Serving"):
        assert re.search(rf"(Type|Reason):\s+{said}$", told, re.MULTILINE), said
    assert re.search(r"Normal\s+Ready\s", told), "the Event"
    assert kubectl("explain", "smodel.spec.speculation.maxNodes").strip()

    waited = kubectl("wait", "--for=condition=Ready", f"smodel/{NAME}", "-n", namespace, "--timeout=10s")
    assert waited.strip() == f"speculativemodel.outrider.dev/{NAME} condition met"
    deleted = kubectl("delete", "smodel", NAME, "-n", namespace)
    assert f'"{NAME}" deleted' in deleted
    assert "No resources found" in kubectl("get", "smodel", "-n", namespace, ok=False)
