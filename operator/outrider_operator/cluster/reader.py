"""Reads from the API server what the commands show. Only reads: a person's rights to look are enough."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Mapping
from http import HTTPStatus
from typing import TypeVar

from outrider_operator.cluster.connection import Connection, Unusable, said
from outrider_operator.cluster.observed import (
    COMPONENT,
    INSTANCE,
    Event,
    Observed,
    Pod,
    Replicas,
    event,
    newest,
    pod,
    replicas,
)
from outrider_operator.kube.errors import KubeError
from outrider_operator.kube.kinds import SPECULATIVE_MODEL
from outrider_operator.resources.pod import Object

OURS = "app.kubernetes.io/name=outrider"
MODELS = f"/apis/{SPECULATIVE_MODEL.api_version}"
# How many events, and of how many pods that are not ready: what a person reads, and few calls.
MOST_EVENTS = 10
MOST_PODS = 5
# A pod that is busy answers within this; one that does not must not hold up the others.
METRICS_DEADLINE_S = 5.0

T = TypeVar("T")


class Reader:
    """One connection's models, and what belongs to them."""

    def __init__(self, connection: Connection) -> None:
        self._kube = connection.kube
        self.namespace = connection.namespace

    async def models(self) -> list[Object]:
        """Raises Unusable where the cluster does not know the kind, KubeError for what it refuses."""
        try:
            return await self._list(MODELS, SPECULATIVE_MODEL.plural)
        except KubeError as error:
            if error.not_found:
                remedy = "install the operator there, or choose another cluster by --context"
                raise Unusable(f"this cluster has no SpeculativeModels; {remedy}") from None
            raise

    async def model(self, name: str) -> Object:
        """Raises Unusable where there is none, KubeError for what the server refuses."""
        path = SPECULATIVE_MODEL.path(self.namespace or "", name)
        try:
            found: Object = json.loads(await self._kube.read(path))
        except KubeError as error:
            if not error.not_found:
                raise
            there = [each["metadata"]["name"] for each in await self.models()]
            other = f"it has {', '.join(there[:5])}" if there else "it has none; choose another by --namespace"
            raise Unusable(f"no SpeculativeModel {name} in namespace {self.namespace}: {other}") from None
        return found

    async def pods(self, name: str | None = None, role: str | None = None) -> list[Pod]:
        """The pods of one model, or of all; of one role, or of both. Raises KubeError."""
        selector = {"labelSelector": _selector(name, role)}
        found = [pod(item) for item in await self._list("/api/v1", "pods", selector)]
        return sorted(found, key=lambda each: (each.namespace, each.model, each.role != "target", each.name))

    async def replicas(self, name: str | None = None) -> dict[tuple[str, str, str], Replicas]:
        """By namespace, model and role. Raises KubeError."""
        return replicas(await self._list("/apis/apps/v1", "deployments", {"labelSelector": _selector(name)}))

    async def observed(self, name: str) -> Observed:
        """All about one model. What may not be read is told as such. Raises Unusable and KubeError."""
        model = await self.model(name)
        unread: list[str] = []

        async def may(what: str, read: Awaitable[T], otherwise: T) -> T:
            try:
                return await read
            except KubeError as error:
                unread.append(f"{what}: {said(error)}")
                return otherwise

        counted, pods = await asyncio.gather(may("replicas", self.replicas(name), {}), may("pods", self.pods(name), []))
        events = await may("events", self._events(name, pods), [])
        of_roles = {role: each for (_, _, role), each in counted.items()}
        return Observed(model, of_roles, pods, events, unread)

    async def _events(self, name: str, pods: list[Pod]) -> list[Event]:
        """The model's own, and those of pods that are not ready."""
        abouts = [(SPECULATIVE_MODEL.name, name)]
        abouts += [("Pod", each.name) for each in pods if not each.ready][:MOST_PODS]
        lists = await asyncio.gather(*(self._events_about(*about) for about in abouts))
        return newest((each for found in lists for each in found), MOST_EVENTS)

    async def _events_about(self, kind: str, name: str) -> list[Event]:
        fields = f"involvedObject.kind={kind},involvedObject.name={name}"
        return [event(item) for item in await self._list("/api/v1", "events", {"fieldSelector": fields})]

    async def metrics(self, pod: Pod) -> str:
        """The pod's /metrics, which the API server fetches: it has a way to the pod, this machine need not.

        Raises KubeError.
        """
        scheme = "https:" if pod.https else ""
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{scheme}{pod.name}:{pod.port}/proxy/metrics"
        try:
            async with asyncio.timeout(METRICS_DEADLINE_S):
                return (await self._kube.read(path)).decode(errors="replace")
        except TimeoutError:
            raise KubeError(0, "Timeout", f"GET {path}: no answer within {METRICS_DEADLINE_S:.0f} s") from None

    def log(self, pod: Pod, container: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The lines of a container's log. Raises KubeError."""
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/log"
        return self._kube.lines(path, {"container": container, **query})

    async def _list(self, root: str, plural: str, query: Mapping[str, str] | None = None) -> list[Object]:
        within = "" if self.namespace is None else f"/namespaces/{self.namespace}"
        items: list[Object] = json.loads(await self._kube.read(f"{root}{within}/{plural}", query))["items"]
        return items


def _selector(name: str | None, role: str | None = None) -> str:
    wanted = {INSTANCE: name, COMPONENT: role}
    return ",".join([OURS, *(f"{label}={value}" for label, value in wanted.items() if value is not None)])


def forbidden(error: KubeError) -> bool:
    return error.status == HTTPStatus.FORBIDDEN
