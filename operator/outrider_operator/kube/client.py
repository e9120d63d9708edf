"""Calls to the API server. Every call has a deadline, is counted, and fails as a KubeError."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException

from outrider_operator.kube.errors import KubeError
from outrider_operator.kube.kinds import Kind, kind_of
from outrider_operator.resources.pod import Object

FIELD_MANAGER = "outrider"
# The API server gives its own calls a minute; one that takes longer is lost, and is made again.
DEADLINE_S = 30.0
# As kubectl asks: objects as JSON, and logs and what pods answer as whatever they are.
ACCEPT = "application/json, */*"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON = "application/json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

PAGE = "500"

# verb, status (0: no answer), seconds
OnCall = Callable[[str, int, float], None]


class Kube:
    """The API server behind an ApiClient. Objects are plain dicts, as JSON has them."""

    def __init__(self, api: ApiClient, on_call: OnCall = lambda *_: None) -> None:
        self._api = api
        self._on_call = on_call

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object, or None where there is none. Raises KubeError."""
        try:
            found: Object = await self._call("get", "GET", kind.path(namespace, name))
            return found
        except KubeError as error:
            if error.not_found:
                return None
            raise

    async def exists(self, kind: Kind, namespace: str, name: str) -> bool:
        """Asks for the metadata alone: what is in a Secret stays where it is. Raises KubeError."""
        try:
            await self._call("get", "GET", kind.path(namespace, name), accept=METADATA)
        except KubeError as error:
            if error.not_found:
                return False
            raise
        return True

    async def list_all(self, kind: Kind, namespace: str, selector: str = "") -> list[Object]:
        """The namespace's objects, each with its kind. Raises KubeError; a kind that is not served has none."""
        query = {"labelSelector": selector} if selector else {}
        try:
            found = await self._call("list", "GET", kind.path(namespace), query)
        except KubeError as error:
            if error.not_found:
                return []
            raise
        about = {"apiVersion": kind.api_version, "kind": kind.name}
        return [{**about, **item} for item in found["items"]]

    async def apply(self, item: Object) -> Object:
        """Server-side apply: makes the named fields ours, whoever set them, and leaves all others. Raises KubeError."""
        metadata = item["metadata"]
        path = kind_of(item).path(metadata["namespace"], metadata["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        answer: Object = await self._call("apply", "PATCH", path, query, item, APPLY)
        return answer

    async def create(self, item: Object) -> Object:
        """Raises KubeError, with status 409 where there is one of that name."""
        path = kind_of(item).path(item["metadata"]["namespace"])
        answer: Object = await self._call("create", "POST", path, {"fieldManager": FIELD_MANAGER}, item)
        return answer

    async def delete(self, item: Object) -> None:
        """Deletes this very object, not another that has its name by now. Its own children go with it."""
        metadata = item["metadata"]
        body = {"preconditions": {"uid": metadata["uid"]}, "propagationPolicy": "Background"}
        try:
            await self._call("delete", "DELETE", kind_of(item).path(metadata["namespace"], metadata["name"]), body=body)
        except KubeError as error:
            if not error.not_found and error.status != HTTPStatus.CONFLICT:
                raise

    async def merge_status(self, item: Object, status: Object) -> Object:
        """Changes these fields of the status and leaves the others; None takes one away. Raises KubeError."""
        metadata = item["metadata"]
        path = kind_of(item).path(metadata["namespace"], metadata["name"], "status")
        query = {"fieldManager": FIELD_MANAGER}
        answer: Object = await self._call("status", "PATCH", path, query, {"status": status}, MERGE)
        return answer

    async def merge(self, kind: Kind, namespace: str, name: str, change: Object, manager: str) -> Object:
        """Changes these fields and leaves the others; None takes one away. Raises KubeError."""
        path = kind.path(namespace, name)
        answer: Object = await self._call("merge", "PATCH", path, {"fieldManager": manager}, change, MERGE)
        return answer

    async def set_scale(self, kind: Kind, namespace: str, name: str, replicas: int, manager: str) -> None:
        """By the subresource: rights to scale are enough. Raises KubeError."""
        path = kind.path(namespace, name, "scale")
        await self._call("scale", "PATCH", path, {"fieldManager": manager}, {"spec": {"replicas": replicas}}, MERGE)

    async def may_list(self, kind: Kind, namespaces: Collection[str]) -> bool:
        """Whether this kind may be read there, in the whole cluster where no namespace is named. Raises KubeError."""
        try:
            for path in [kind.path(each) for each in namespaces] or [kind.path()]:
                await self._call("list", "GET", path, {"limit": "1"}, accept=METADATA_LIST)
        except KubeError as error:
            if error.status == HTTPStatus.FORBIDDEN:
                return False
            raise
        return True

    async def names(self, kind: Kind, namespaces: Collection[str], selector: str = "") -> set[tuple[str, str]]:
        """Namespace and name of all objects there; without namespaces of the whole cluster. Raises KubeError."""
        found: set[tuple[str, str]] = set()
        for path in [kind.path(each) for each in namespaces] or [kind.path()]:
            query = {"limit": PAGE, **({"labelSelector": selector} if selector else {})}
            while True:
                page = await self._call("list", "GET", path, query, accept=METADATA_LIST)
                found |= {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in page["items"]}
                query["continue"] = page["metadata"].get("continue", "")
                if not query["continue"]:
                    break
        return found

    async def kinds(self, api_version: str) -> frozenset[str]:
        """The kinds that the server has of a group and version; none where it has not got that. Raises KubeError."""
        try:
            found = await self._call("discover", "GET", f"/apis/{api_version}")
        except KubeError as error:
            if error.not_found:
                return frozenset()
            raise
        return frozenset(each["kind"] for each in found.get("resources") or () if "/" not in each["name"])

    async def serves(self, kind: Kind) -> bool:
        """Whether the server has this kind, and lists its group among all others. Raises KubeError."""
        group = kind.api_version.partition("/")[0]
        listed = await self._call("discover", "GET", "/apis")
        there = any(each["name"] == group for each in listed["groups"])
        return there and kind.name in await self.kinds(kind.api_version)

    async def read(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """What the server has at a path, as it is: a list over namespaces, a page of a pod. Raises KubeError."""
        return bytes(await self._call("get", "GET", path, query, parse=bytes))

    async def lines(self, path: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The lines of an answer as they come, until the server ends it: a log, followed or not. Raises KubeError."""
        try:
            request = await self._api.param_serialize(
                "GET",
                path,
                query_params=list(query.items()),
                header_params={"Accept": ACCEPT},
                auth_settings=["BearerToken"],
            )
            until_it_begins = aiohttp.ClientTimeout(total=None, connect=DEADLINE_S)
            answer = await self._api.call_api(*request, _request_timeout=until_it_begins)
            async with answer.response as response:
                if response.status != HTTPStatus.OK:
                    raise _refusal("GET", path, response.status, await response.read(), response.headers)
                rest = b""
                async for chunk in response.content.iter_any():
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        yield line
                if rest:
                    yield rest
        except (aiohttp.ClientError, OSError) as error:
            raise KubeError(0, type(error).__name__, f"GET {path}: {error}") from None

    async def _call(
        self,
        verb: str,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
        accept: str = ACCEPT,
        parse: Callable[[bytes], Any] = json.loads,
    ) -> Any:
        started = time.monotonic()
        status = 0
        try:
            async with asyncio.timeout(DEADLINE_S):
                request = await self._api.param_serialize(
                    method,
                    path,
                    query_params=list((query or {}).items()),
                    header_params={"Accept": accept, "Content-Type": content_type},
                    body=body,
                    auth_settings=["BearerToken"],
                )
                response = await self._api.call_api(*request)
                status = response.status
                raw = await response.read()
        except TimeoutError:
            raise KubeError(0, "Timeout", f"{method} {path}: no answer within {DEADLINE_S:.0f} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise KubeError(0, type(error).__name__, f"{method} {path}: {error}") from None
        except ApiException as error:
            status = error.status or 0
            raise _refusal(method, path, status, error.body, error.headers or {}) from None
        finally:
            self._on_call(verb, status, time.monotonic() - started)
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise _refusal(method, path, status, raw, response.headers)
        try:
            return parse(raw)
        except ValueError:  # what stands before the server may say in HTML, with 200, that it is away
            raise KubeError(0, "NotJson", f"{method} {path}: the answer is no JSON; is it the API server's?") from None


def _refusal(method: str, path: str, status: int, body: bytes | str | None, headers: Mapping[str, str]) -> KubeError:
    """The server's own words, which name the field that it refuses. What stands before it may answer in HTML."""
    try:
        content = json.loads(body or "{}")
        reason, message = content.get("reason") or "", content.get("message") or ""
    except (ValueError, AttributeError):
        reason = message = ""
    asked = headers.get("Retry-After", "")
    phrase = message or f"HTTP status {status}"
    return KubeError(status, reason, f"{method} {path}: {phrase}", float(asked) if asked.isdecimal() else None)
