"""Two replicas: one works, the other takes over; and an operator that has rights in its namespaces alone."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import yaml
from cluster.control_plane import Cluster
from cluster.kubectl import Kubectl
from cluster.operator_process import RBAC, SYSTEM, token
from integration.operator.cluster_state import FIRST_WRITES, children, condition, patch, sample, until_complete
from integration.operator.conftest import StartOperator
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from outrider_operator.kube.leader import LEASE_S, RENEW_DEADLINE_S, RETRY_S, SteadyLock
from outrider_operator.kube.login import client

# The Lease's 12 s and two turns of 2 s; what the machine takes beyond it is not the election's.
REPLACED_S = 20


def test_a_leader_that_is_killed_is_replaced_and_nothing_is_written_twice(
    kubectl: Kubectl, start_operator: StartOperator, namespace: str
) -> None:
    first = start_operator()
    kubectl.until(lambda: first.leads, "one leads")
    second = start_operator()
    kubectl.until(lambda: second.metrics().get("outrider_operator_leader") == 0, "the other waits")
    before = first.until_at_rest()
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
    kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["status"] == "True", "the status")
    kubectl.until(lambda: first.writes - before >= FIRST_WRITES, "the last of them is counted")
    assert second.writes == 0
    assert first.writes - before == FIRST_WRITES
    first.end(kill=True)
    killed_s = time.monotonic()
    kubectl.until(lambda: second.leads, "the other leads")
    print(f"replaced after {time.monotonic() - killed_s:.1f} s; the goal is {REPLACED_S}")
    patch(kubectl, namespace, {"speculation": {"mode": "Off"}})
    kubectl.until(lambda: not [name for name in children(kubectl, namespace) if name.endswith("-draft")], "a change")


async def gets_the_lease(kubeconfig: Path) -> bool:
    """Whether somebody who has never looked before has it at the first try. It is given back."""
    found = Configuration()
    await load_kube_config(config_file=str(kubeconfig), client_configuration=found)

    async def nothing() -> None:
        """There is nothing to lead."""

    async with client(found) as api:
        lock = SteadyLock("outrider-operator", SYSTEM, "candidate", api)
        election = LeaderElection(Config(lock, LEASE_S, RENEW_DEADLINE_S, RETRY_S, nothing, nothing))
        gets = bool(await election.try_acquire_or_renew())
        await lock.give_back()
    return gets


def test_a_leader_that_is_told_to_end_gives_the_lease_back(
    kubectl: Kubectl, start_operator: StartOperator, operators_kubeconfig: Path
) -> None:
    first = start_operator()
    kubectl.until(lambda: first.leads, "one leads")
    lease = kubectl.read("lease/outrider-operator", "-n", SYSTEM)
    assert lease["spec"]["holderIdentity"]
    assert not asyncio.run(gets_the_lease(operators_kubeconfig))
    first.end()
    after = kubectl.read("lease/outrider-operator", "-n", SYSTEM)
    assert "holderIdentity" not in after["spec"]
    assert asyncio.run(gets_the_lease(operators_kubeconfig)), "without waiting until it runs out"
    second = start_operator()
    kubectl.until(lambda: second.leads, "the next leads")


def test_one_that_waits_for_its_turn_ends_when_it_is_told_to(kubectl: Kubectl, start_operator: StartOperator) -> None:
    first = start_operator()
    kubectl.until(lambda: first.leads, "one leads")
    second = start_operator()
    kubectl.until(lambda: second.metrics().get("outrider_operator_leader") == 0, "the other waits")
    assert second.process is not None
    second.process.terminate()
    assert second.process.wait(30) == 0, "by itself: the signal alone does not end process 1 of a container"
    assert first.leads


def test_with_a_namespace_named_it_needs_rights_there_alone(
    kubectl: Kubectl, cluster: Cluster, start_operator: StartOperator, namespace: str, tmp_path: Path
) -> None:
    kubectl("create", "serviceaccount", "operator", "-n", namespace)
    rules = next(
        item["rules"] for item in yaml.safe_load_all(RBAC.read_text(encoding="utf-8")) if item["kind"] == "ClusterRole"
    )
    cluster_wide = ("namespaces", "customresourcedefinitions")
    ours = [rule for rule in rules if rule["resources"][0] not in cluster_wide]
    lease = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
    metadata = {"name": "operator", "namespace": namespace}
    api = "rbac.authorization.k8s.io/v1"
    role = {"apiVersion": api, "kind": "Role", "metadata": metadata, "rules": [*ours, lease]}
    binding = {
        "apiVersion": api,
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"},
        "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": namespace}],
    }
    kubectl.apply(namespace, role, binding)
    kubeconfig = cluster.kubeconfig_for(token(kubectl, namespace, "operator"), tmp_path / "kubeconfig")
    other = f"{namespace[:40]}-other"
    kubectl("create", "namespace", other)
    start_operator(f"--namespace={namespace}", f"--lease-namespace={namespace}", kubeconfig=kubeconfig)
    kubectl.apply(other, sample())
    kubectl.apply(namespace, sample())
    until_complete(kubectl, namespace)
    kubectl.until(lambda: condition(kubectl, namespace, "Accepted")["status"] == "True", "the status")
    assert children(kubectl, other) == {}
    kubectl("delete", "namespace", other, "--wait=false")
