"""An API server in memory, as far as reconcile sees one: for what a real server can hardly be made to do on demand."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Collection

from outrider_operator.kube.errors import KubeError
from outrider_operator.kube.kinds import Kind
from outrider_operator.resources.pod import Object

from support.replica_owners import applied, scaled

Place = tuple[str, str, str]


def place_of(item: Object) -> Place:
    return item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]


class MemoryKube:
    """Takes the calls of `Kube`. before: called before each with its verb; what it raises, the caller gets. admit: what
    an admission webhook makes of an object that is applied; the object is its own to change.
    """

    def __init__(self) -> None:
        self.objects: dict[Place, Object] = {}
        self.writes: list[tuple[str, Place]] = []
        self.events: list[Object] = []
        # by group and version the optional kinds; None: that API does not answer
        self.served: dict[str, set[str] | None] = {}
        self.before: Callable[[str], None] = lambda _: None
        self.admit: Callable[[Object], Object] = lambda item: item
        self._versions = itertools.count(1)

    def add(self, item: Object) -> Object:
        """As if somebody else had created it."""
        return self._put(item, {"uid": f"uid-{next(self._versions)}", "generation": 1})

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        self.before("get")
        return copy.deepcopy(self.objects.get((kind.name, namespace, name)))

    async def serves(self, _kind: Kind) -> bool:
        self.before("discover")
        return True

    async def kinds(self, api_version: str) -> frozenset[str]:
        self.before("discover")
        kinds = self.served.get(api_version, set())
        if kinds is None:
            raise KubeError(503, "ServiceUnavailable", f"GET /apis/{api_version}: service unavailable")
        return frozenset(kinds)

    async def may_list(self, _kind: Kind, _namespaces: Collection[str]) -> bool:
        self.before("list")
        return True

    async def names(self, kind: Kind, _namespaces: Collection[str], _selector: str = "") -> set[tuple[str, str]]:
        self.before("list")
        return {place[1:] for place in self.objects if place[0] == kind.name}

    async def list_all(self, kind: Kind, namespace: str) -> list[Object]:
        self.before("list")
        return [copy.deepcopy(item) for place, item in self.objects.items() if place[:2] == (kind.name, namespace)]

    def scale(self, place: Place, replicas: int, manager: str) -> None:
        """Somebody writes the scale subresource of a Deployment."""
        live = self.objects[place]
        generation = live["metadata"]["generation"] + (live["spec"]["replicas"] != replicas)
        self._put(scaled(live, replicas, manager), {"generation": generation})

    async def exists(self, kind: Kind, namespace: str, name: str) -> bool:
        self.before("get")
        return (kind.name, namespace, name) in self.objects

    async def apply(self, item: Object) -> Object:
        self.before("apply")
        live = self.objects.get(place_of(item))
        version = item["metadata"].get("resourceVersion")
        if version is not None and (live is None or live["metadata"]["resourceVersion"] != version):
            raise KubeError(409, "Conflict", "it has been changed meanwhile")
        self.writes.append(("apply", place_of(item)))
        item = self.admit(copy.deepcopy(item))
        if item["kind"] == "Deployment":
            item = applied(item, live)
        if live is None:
            return self.add(item)
        metadata = live["metadata"]
        generation = metadata["generation"] + (live.get("spec") != item.get("spec"))
        kept = {key: live[key] for key in ("status",) if key in live}
        return self._put({**kept, **item}, {"uid": metadata["uid"], "generation": generation})

    async def create(self, item: Object) -> Object:
        self.before("create")
        if item["kind"] == "Event":
            self.events.append(item)
            return item
        if place_of(item) in self.objects:
            raise KubeError(409, "AlreadyExists", "it is there already")
        self.writes.append(("create", place_of(item)))
        return self.add(item)

    async def delete(self, item: Object) -> None:
        self.before("delete")
        self.writes.append(("delete", place_of(item)))
        self.objects.pop(place_of(item), None)

    async def merge_status(self, item: Object, status: Object) -> Object:
        self.before("status")
        self.writes.append(("status", place_of(item)))
        live = self.objects.get(place_of(item))
        if live is None:
            raise KubeError(404, "NotFound", "the model is gone")
        merged = {**live.get("status", {}), **status}
        kept = {name: value for name, value in merged.items() if value is not None}
        return self._put({**live, "status": kept}, {})

    async def merge(self, kind: Kind, namespace: str, name: str, change: Object, _manager: str) -> Object:
        self.before("merge")
        place = (kind.name, namespace, name)
        self.writes.append(("merge", place))
        if place not in self.objects:
            raise KubeError(404, "NotFound", f"{name} is not there")
        live = self.objects[place]
        return self._put({**live, "data": {**live.get("data", {}), **change["data"]}}, {})

    async def set_scale(self, kind: Kind, namespace: str, name: str, replicas: int, manager: str) -> None:
        self.before("scale")
        place = (kind.name, namespace, name)
        self.writes.append(("scale", place))
        self.scale(place, replicas, manager)

    def _put(self, item: Object, metadata: Object) -> Object:
        stored = copy.deepcopy(item)
        stored["metadata"] |= {**metadata, "resourceVersion": str(next(self._versions))}
        self.objects[place_of(stored)] = stored
        return copy.deepcopy(stored)
