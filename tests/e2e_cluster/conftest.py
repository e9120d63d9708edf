"""One cluster, one release, one namespace for the whole scenario, whose steps stand on one another."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial

import pytest
from cluster.errors import NoCluster
from cluster.kubectl import Kubectl
from e2e.asking import Answer
from e2e_cluster.asking import POD, Asking, client_objects
from e2e_cluster.looking import Look
from e2e_cluster.objects import NAMESPACE, VOLUME
from e2e_cluster.site import SERVING, Site, chosen_site
from e2e_cluster.transcript import Shell, Transcript
from e2e_cluster.volume import provide_models

SYSTEM = "outrider-system"
RELEASE = "outrider"

StartAsking = Callable[..., Asking]
KUBECTL = pytest.StashKey[Kubectl]()


@pytest.fixture(scope="session")
def transcript() -> Iterator[Transcript]:
    written = Transcript()
    yield written
    written.say("the end")


@pytest.fixture(scope="session")
def site(transcript: Transcript) -> Iterator[Site]:
    try:
        with chosen_site(transcript) as chosen:
            yield chosen
    except NoCluster as error:
        pytest.exit(f"no cluster: {error}", returncode=2)


@pytest.fixture(scope="session")
def shell(site: Site, transcript: Transcript) -> Iterator[Shell]:
    """What it does is told. A release that a run which failed has left goes at the end."""
    told = Shell(transcript, site.kubeconfig, site.kubectl, site.helm)
    yield told
    told.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--ignore-not-found")


@pytest.fixture(scope="session")
def kubectl(site: Site, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Kubectl:
    """For looking on: what it does is not told."""
    made = Kubectl(site.kubectl, site.kubeconfig, tmp_path_factory.mktemp("kubectl"))
    pytestconfig.stash[KUBECTL] = made
    return made


@pytest.fixture(scope="session")
def look(kubectl: Kubectl) -> Look:
    return Look(kubectl)


@pytest.fixture(scope="session")
def namespace(site: Site, shell: Shell, kubectl: Kubectl) -> Iterator[str]:
    """With the models' volume and a client in it. Whatever a run that failed has left goes with it."""
    shell.kubectl("create", "namespace", NAMESPACE)
    try:
        provide_models(site, kubectl)
        kubectl.apply(NAMESPACE, *client_objects(NAMESPACE, site.image(SERVING)))
        Look(kubectl).until_running(POD)
        yield NAMESPACE
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--timeout=80s", ok=False)
        kubectl("delete", "pv", VOLUME, "--ignore-not-found", "--timeout=80s", ok=False)


@pytest.fixture(scope="session")
def start_asking(site: Site, namespace: str) -> StartAsking:
    """`Asking` from inside that namespace."""
    return partial(Asking, [str(site.kubectl), f"--kubeconfig={site.kubeconfig}"], namespace)


@pytest.fixture(scope="session")
def reference() -> dict[int, Answer]:
    """What the model alone answers to each request: empty until a step has asked it."""
    return {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A step that fails says how the cluster was, which will be gone."""
    report = yield
    kubectl = item.config.stash.get(KUBECTL, None)
    if report.failed and kubectl is not None:
        for command in (
            ["get", "pods", "-A", "-o", "wide"],
            ["get", "smodel", "-A", "-o", "yaml"],
            ["get", "events", "-A", "--sort-by=.lastTimestamp"],
            ["logs", "-n", SYSTEM, "-l", "app.kubernetes.io/name=outrider-operator", "--tail=40"],
            ["logs", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=outrider", "--tail=40"],
        ):
            report.sections.append((f"kubectl {' '.join(command)}", kubectl(*command, ok=False)))
    return report
