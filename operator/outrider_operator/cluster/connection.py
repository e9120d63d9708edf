"""Which cluster a command is about, and which namespace of it. The flags are kubectl's own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from outrider_operator.api.rules import NAMESPACE_MESSAGE, is_namespace
from outrider_operator.kube.errors import KubeError

# Loaded where it is used: it takes most of a second, which commands that need no cluster should not.
if TYPE_CHECKING:
    from kubernetes.aio.client import Configuration

    from outrider_operator.kube.client import Kube

DEFAULT_KUBECONFIG = Path("~/.kube/config")
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

NamespaceFlag = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NAMESPACE", help="Default: that of the context.", show_default=False),
]
AllNamespacesFlag = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Those of all namespaces.")]
ContextFlag = Annotated[
    str | None, typer.Option("--context", metavar="NAME", help="Context of the kubeconfig.", show_default=False)
]
KubeconfigFlag = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig", metavar="FILE", help="Default: what KUBECONFIG names, else ~/.kube/config.", show_default=False
    ),
]


class Unusable(Exception):
    """There is nothing to answer from: no cluster, no right, no such model. One line with the remedy."""


@dataclass(frozen=True)
class Place:
    """What the flags say."""

    namespace: str | None = None
    all_namespaces: bool = False
    context: str | None = None
    kubeconfig: Path | None = None

    def check(self, name: str | None) -> None:
        """Raises Unusable for flags that cannot be meant. name: the model that is asked for, if one is."""
        if self.namespace is not None and not is_namespace(self.namespace):
            raise Unusable(f"--namespace: {self.namespace!r} is {NAMESPACE_MESSAGE}")
        # Names stand in the paths of requests: what is no name must not become another path.
        if name is not None and not is_namespace(name):
            raise Unusable(f"NAME: {name!r} is not the name of a model; use small letters, digits and -")
        if name is not None and self.all_namespaces:
            raise Unusable("--all-namespaces: a name is one namespace's; give --namespace, or leave out NAME")


@dataclass(frozen=True)
class Connection:
    """An API server, and the namespace to look into; None: all of them."""

    kube: Kube
    namespace: str | None


@asynccontextmanager
async def connected(place: Place) -> AsyncIterator[Connection]:
    """Raises Unusable where there is no cluster, and for what the API server refuses."""
    from kubernetes.aio.client import ApiClient

    from outrider_operator.kube.client import Kube

    found, namespace = await _login(place)
    # A call that fails is told at once; what is shown again and again asks again anyway.
    found.retries = None
    try:
        api = ApiClient(found)
    except OSError as error:
        raise Unusable(f"no cluster: the kubeconfig's certificates cannot be read: {error}; log in again") from None
    async with api:
        try:
            yield Connection(Kube(api), None if place.all_namespaces else place.namespace or namespace)
        except KubeError as error:
            raise Unusable(_remedy(error, found.host)) from None


async def _login(place: Place) -> tuple[Configuration, str]:
    """What the client needs, and the namespace of the context."""
    from kubernetes.aio.client import Configuration
    from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

    found = Configuration()
    files = _kubeconfig(place)
    try:
        if files is None:
            load_incluster_config(client_configuration=found)
            return found, _own_namespace()
        loader = await load_kube_config(files, place.context, found, persist_config=False)
        return found, str(loader.current_context["context"].get("namespace") or "default")
    except ConfigException as error:
        if place.context is not None and f"name {place.context} in" in str(error):
            raise Unusable(f"--context: {files} has no {place.context}; see `kubectl config get-contexts`") from None
        first = (str(error).strip() or "it cannot be used").splitlines()[0]
        raise Unusable(f"no cluster: {files or 'this pod'}: {first}; name another by --kubeconfig") from None
    except OSError as error:
        raise Unusable(f"no cluster: {error}; name another kubeconfig by --kubeconfig") from None
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        # The loader takes a file apart as it finds it.
        raise Unusable(f"no cluster: {files} is no kubeconfig; name another by --kubeconfig") from None


def _own_namespace() -> str:
    """That of the pod that this runs in."""
    return POD_NAMESPACE.read_text(encoding="utf-8").strip()


def _kubeconfig(place: Place) -> str | None:
    """The file, or several that are merged, as kubectl takes them; None in a pod that has none."""
    if place.kubeconfig is not None:
        if not _is_there(place.kubeconfig):
            raise Unusable(f"--kubeconfig: {place.kubeconfig}: no such file; name one that says where the cluster is")
        return str(place.kubeconfig)
    named = os.environ.get("KUBECONFIG") or str(DEFAULT_KUBECONFIG)
    # Not Path's expanduser: it raises for a user without a home, as in some containers.
    there = [file for file in named.split(os.pathsep) if file and _is_there(Path(os.path.expanduser(file)))]  # noqa: PTH111
    if there:
        return os.pathsep.join(there)
    if "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ:
        return None
    raise Unusable(f"no cluster: {named} is not there; name a kubeconfig by --kubeconfig or KUBECONFIG")


def _is_there(file: Path) -> bool:
    """A pipe too: --kubeconfig <(...) is one."""
    return file.exists() and not file.is_dir()


def said(error: KubeError) -> str:
    """The server's words, without the call that they answer."""
    return str(error).split(": ", 1)[-1]


def _remedy(error: KubeError, host: str) -> str:
    match error.status:
        case 0:
            return f"no cluster: {host} does not answer ({said(error)}); choose another by --context or --kubeconfig"
        case HTTPStatus.UNAUTHORIZED:
            return f"{host} does not know who you are; log in again, or choose another --context"
        case HTTPStatus.FORBIDDEN:
            return f"{said(error)}; ask for that right, or choose another --namespace or --context"
        case _:
            return f"{host}: {said(error)}"
