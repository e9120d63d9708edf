"""The API server as the benchmark's own client sees it: many models at once, and every object as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
from cluster.access import access

MANAGED = "app.kubernetes.io/managed-by=outrider-operator"
MODELS = "/apis/outrider.dev/v1alpha1"
AT_ONCE = 32

Object = dict[str, Any]


class Server:
    """As its administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        self._client = httpx.AsyncClient(
            **access(kubeconfig),
            timeout=60,
            limits=httpx.Limits(max_connections=None),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def create_namespace(self, name: str) -> None:
        await self._sent("POST", "/api/v1/namespaces", {"metadata": {"name": name}})

    async def delete_namespace(self, name: str) -> None:
        await self._sent("DELETE", f"/api/v1/namespaces/{name}")

    async def create_models(self, models: Iterable[Object]) -> None:
        """All at once, as far as one client can."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def create(model: Object) -> None:
            async with gate:
                namespace = model["metadata"]["namespace"]
                await self._sent("POST", f"{MODELS}/namespaces/{namespace}/speculativemodels", model)

        await asyncio.gather(*(create(model) for model in models))

    async def change_model(self, namespace: str, name: str, spec: Object) -> None:
        path = f"{MODELS}/namespaces/{namespace}/speculativemodels/{name}"
        await self._sent("PATCH", path, {"spec": spec}, "application/merge-patch+json")

    async def _sent(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> None:
        answer = await self._client.request(method, path, json=body, headers={"Content-Type": content_type})
        answer.raise_for_status()

    @contextlib.asynccontextmanager
    async def watch(self, namespace: str, path: str, seen: Seen) -> Any:
        """Tells `seen` of the objects of one kind that the operator makes there. path: apis/GROUP/VERSION, and kind."""
        root, plural = path.rsplit("/", 1)
        query = {"labelSelector": MANAGED, "watch": "true", "resourceVersion": "0"}
        url = f"/{root}/namespaces/{namespace}/{plural}"

        async def follow() -> None:
            async with self._client.stream("GET", url, params=query, timeout=None) as answer:
                answer.raise_for_status()
                async for line in answer.aiter_lines():
                    change = json.loads(line)
                    seen.take(plural, change["type"], change["object"])

        following = asyncio.create_task(follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


class Seen:
    """What the watches have told: how many objects of each kind there are, and when each spec came to be."""

    def __init__(self) -> None:
        self._there: dict[tuple[str, str], int] = {}
        self._changed = asyncio.Event()
        self.at_s: dict[tuple[str, str, int], float] = {}

    def take(self, plural: str, change: str, item: Object) -> None:
        key = (plural, item["metadata"]["name"])
        if change == "DELETED":
            self._there.pop(key, None)
        else:
            generation = item["metadata"].get("generation", 1)
            self._there[key] = generation
            self.at_s.setdefault((*key, generation), time.monotonic())
        self._changed.set()

    @property
    def counts(self) -> Mapping[str, int]:
        return Counter(plural for plural, _ in self._there)

    def generation(self, plural: str, name: str) -> int:
        return self._there[plural, name]

    async def until(self, objects: int) -> None:
        """Until so many are there."""
        while len(self._there) < objects:
            await self._next()

    async def until_generation(self, plural: str, name: str, generation: int) -> float:
        """When the object's spec had changed so often."""
        while (plural, name, generation) not in self.at_s:
            await self._next()
        return self.at_s[plural, name, generation]

    async def _next(self) -> None:
        self._changed.clear()
        await self._changed.wait()
