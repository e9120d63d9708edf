"""What the cluster with pods has from its start goes with the addresses and names that its programs are given."""

from __future__ import annotations

from typing import Any

import yaml
from cluster.addresses import DNS, NODE
from cluster.node import OBJECTS


def the(kind: str) -> dict[str, Any]:
    items = yaml.safe_load_all(OBJECTS.read_text(encoding="utf-8"))
    [found] = [item for item in items if item["kind"] == kind]
    return dict(found)


def test_the_service_of_dns_leads_to_the_resolver_on_the_node() -> None:
    service, endpoints = the("Service"), the("Endpoints")
    assert service["spec"]["clusterIP"] == DNS
    assert endpoints["metadata"]["name"] == service["metadata"]["name"]
    [subset] = endpoints["subsets"]
    assert [address["ip"] for address in subset["addresses"]] == [NODE]
    assert subset["ports"] == service["spec"]["ports"]


def test_every_pod_is_held_to_the_policy() -> None:
    policy, role, binding = the("PodSecurityPolicy"), the("ClusterRole"), the("ClusterRoleBinding")
    assert role["rules"][0]["resourceNames"] == [policy["metadata"]["name"]]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == ["system:authenticated"]
    assert policy["spec"]["readOnlyRootFilesystem"]
    assert policy["spec"]["runAsUser"]["ranges"][0]["min"] > 2**16
