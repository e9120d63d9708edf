"""A real API server with its controllers, and the operator as a process, under its own ServiceAccount."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.choice import chosen_cluster, given_kubeconfig, without_cluster
from cluster.control_plane import Cluster, ControlPlane
from cluster.errors import NoCluster
from cluster.kubectl import Kubectl
from cluster.kubelet import Kubelet
from cluster.operator_process import SYSTEM, Operator, install, token
from cluster.proxy import FaultyProxy
from integration.operator.stand_ins import served

HERE = Path(__file__).parent
NOT_RUN = pytest.StashKey[int]()
WORKERS_NOT_RUN = "tests_that_need_a_cluster"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """CLUSTER=none takes these tests out, and a cluster that is given those that stop it; what was not run is told at
    the end.
    """
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    if not without_cluster():
        ours = [item for item in ours if given_kubeconfig() is not None and "control_plane" in _fixtures(item)]
    config.stash[NOT_RUN] = len(ours)
    if hasattr(config, "workeroutput"):
        config.workeroutput[WORKERS_NOT_RUN] = len(ours)
    config.hook.pytest_deselected(items=ours)
    items[:] = [item for item in items if item not in ours]


def pytest_testnodedown(node: Any) -> None:
    """Workers collect the same tests, each all of them."""
    node.config.stash[NOT_RUN] = getattr(node, "workeroutput", {}).get(WORKERS_NOT_RUN, 0)


def _fixtures(item: pytest.Item) -> Collection[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else ()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    count = terminalreporter.config.stash.get(NOT_RUN, 0)
    if count:
        lack = "a cluster" if without_cluster() else "a cluster that they may stop"
        terminalreporter.section("CLUSTER=none" if without_cluster() else "KUBECONFIG")
        terminalreporter.write_line(f"NOT RUN: {count} tests of tests/integration/operator, which need {lack}")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    try:
        with chosen_cluster() as running:
            yield running
    except NoCluster as error:
        pytest.exit(f"no test cluster: {error}", returncode=2)


@pytest.fixture(scope="session")
def control_plane(cluster: Cluster) -> ControlPlane:
    """A server of our own, which may be stopped."""
    assert isinstance(cluster, ControlPlane), "tests that stop the cluster are taken out where it is given"
    return cluster


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    administrator = Kubectl(cluster.kubectl, cluster.kubeconfig, tmp_path_factory.mktemp("kubectl"))
    install(administrator)
    return administrator


@pytest.fixture(scope="session")
def operators_token(kubectl: Kubectl) -> str:
    return token(kubectl, SYSTEM, "outrider-operator")


@pytest.fixture(scope="session")
def operators_kubeconfig(cluster: Cluster, operators_token: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cluster.kubeconfig_for(operators_token, tmp_path_factory.mktemp("operator") / "kubeconfig")


StartOperator = Callable[..., Operator]


@pytest.fixture
def start_operator(operators_kubeconfig: Path, tmp_path: Path) -> Iterator[StartOperator]:
    """Starts an operator, as often as wanted; flags, and `kubeconfig` where it is to be another than its own."""
    started: list[Operator] = []

    def start(*flags: str, kubeconfig: Path = operators_kubeconfig, in_a_hurry: bool = False) -> Operator:
        operator = Operator(kubeconfig, tmp_path / f"operator-{len(started)}.log", *flags, in_a_hurry=in_a_hurry)
        operator.start()
        started.append(operator)
        return operator

    yield start
    for operator in started:
        operator.end()
        print(operator.log.read_text(encoding="utf-8"))


@pytest.fixture
def operator(start_operator: StartOperator) -> Operator:
    return start_operator()


@pytest.fixture
def proxy(control_plane: ControlPlane) -> Iterator[FaultyProxy]:
    with FaultyProxy(control_plane.server) as running:
        yield running


@pytest.fixture
def through_proxy(control_plane: ControlPlane, proxy: FaultyProxy, operators_token: str, tmp_path: Path) -> Path:
    """The operator's kubeconfig with the proxy in place of the server."""
    path = control_plane.kubeconfig_for(operators_token, tmp_path / "proxied")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["clusters"][0]["cluster"] = {"server": proxy.url}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture
def kubelet(control_plane: ControlPlane, namespace: str) -> Iterator[Kubelet]:
    with Kubelet(control_plane.kubeconfig, namespace) as running:
        yield running


@pytest.fixture
def openshift(control_plane: ControlPlane, tmp_path: Path) -> Iterator[None]:
    """The APIs that OpenShift has beside Kubernetes' own, for the time of a test."""
    with served(Kubectl(control_plane.kubectl, control_plane.kubeconfig, tmp_path / "openshift")):
        yield


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:36].strip("-") + f"-{secrets.token_hex(3)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")
