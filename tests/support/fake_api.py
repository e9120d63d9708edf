"""An API server as the commands see one: real HTTP on the loopback, with the answers of the real one. Read only."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType

import yaml
from aiohttp import web
from outrider_operator.resources.pod import Object

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# plural of a namespaced kind: where it is
ROOTS = {
    "speculativemodels": "/apis/outrider.dev/v1alpha1",
    "deployments": "/apis/apps/v1",
    "pods": "/api/v1",
    "events": "/api/v1",
}
PLURALS = {"SpeculativeModel": "speculativemodels", "Deployment": "deployments", "Pod": "pods", "Event": "events"}


class FakeApi:
    """Has what it is given. A person with the token `secret` may read all but what is in `forbidden`."""

    def __init__(self) -> None:
        self.objects: list[Object] = []
        # pod:port as in the proxy's path: what it answers, one after another; "" where it does not
        self.pages: dict[str, list[str]] = {}
        self.logs: dict[tuple[str, str], list[str]] = {}  # pod and container: lines with their time
        self.previous: dict[tuple[str, str], list[str]] = {}
        self.forbidden: set[str] = set()
        self.token = "secret"
        self.has_crd = True
        self.broken = False
        self.requests: list[str] = []
        self._ended = asyncio.Event()  # a log that is followed goes on until it is set
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.url = ""

    def __enter__(self) -> FakeApi:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.end_logs()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def kubeconfig(self, path: Path, namespace: str | None = "chat", token: str = "secret") -> Path:
        within = {} if namespace is None else {"namespace": namespace}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [
                {"name": "there", "context": {"cluster": "fake", "user": "user", **within}},
                {"name": "search", "context": {"cluster": "fake", "user": "user", "namespace": "search"}},
            ],
            "current-context": "there",
        }
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    def add(self, *items: Object) -> None:
        self.objects += items

    def asked(self, part: str) -> int:
        """How often something was asked for whose path holds this."""
        return sum(part in path for path in self.requests)

    def end_logs(self) -> None:
        """Ends every connection that follows a log, now and from now on."""
        self._loop.call_soon_threadsafe(self._ended.set)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._run())
        self._loop.close()

    async def _run(self) -> None:
        app = web.Application(middlewares=[self._gate])
        for plural, root in ROOTS.items():
            app.router.add_get(f"{root}/{plural}", self._list(plural))
            app.router.add_get(f"{root}/namespaces/{{namespace}}/{plural}", self._list(plural))
        app.router.add_get(
            f"{ROOTS['speculativemodels']}/namespaces/{{namespace}}/speculativemodels/{{name}}", self._get
        )
        app.router.add_get("/api/v1/namespaces/{namespace}/pods/{name}/log", self._log)
        app.router.add_get("/api/v1/namespaces/{namespace}/pods/{name}/proxy/metrics", self._proxy)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    @web.middleware
    async def _gate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests.append(request.path_qs)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return refusal(401, "Unauthorized", "Unauthorized")
        plural = next((each for each in PLURALS.values() if f"/{each}" in request.path), "")
        what = "pods/proxy" if "/proxy/" in request.path else "pods/log" if request.path.endswith("/log") else plural
        if self.broken:
            return refusal(503, "ServiceUnavailable", "the server is busy")
        if what in self.forbidden:
            namespace = request.match_info.get("namespace", "")
            message = f'{what} is forbidden: User "user" cannot get resource "{what}" in the namespace "{namespace}"'
            return refusal(403, "Forbidden", message)
        if plural == "speculativemodels" and not self.has_crd:
            return web.Response(status=404, text="404 page not found\n")
        return await handler(request)

    def _list(self, plural: str) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            namespace = request.match_info.get("namespace")
            items = [
                item
                for item in self.objects
                if PLURALS[item["kind"]] == plural
                and namespace in (None, item["metadata"]["namespace"])
                and _has_labels(item, request.query.get("labelSelector", ""))
                and _has_fields(item, request.query.get("fieldSelector", ""))
            ]
            # As the real one: the items of a list do not say their kind.
            bare = [{key: value for key, value in item.items() if key not in ("apiVersion", "kind")} for item in items]
            return web.json_response({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": bare})

        return answer

    async def _get(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        for item in self.objects:
            metadata = item["metadata"]
            if (item["kind"], metadata["namespace"], metadata["name"]) == ("SpeculativeModel", namespace, name):
                return web.json_response(item)
        return refusal(404, "NotFound", f'speculativemodels.outrider.dev "{name}" not found')

    async def _proxy(self, request: web.Request) -> web.Response:
        answers = self.pages.get(request.match_info["name"])
        answer = (answers.pop(0) if len(answers) > 1 else answers[0]) if answers else ""
        if not answer:
            dial = "dial tcp 10.1.2.3:8000: connect: connection refused"
            return refusal(503, "ServiceUnavailable", f"error trying to reach service: {dial}")
        return web.Response(text=answer)

    async def _log(self, request: web.Request) -> web.StreamResponse:
        pod, container = request.match_info["name"], request.query["container"]
        there = self.previous if request.query.get("previous") == "true" else self.logs
        lines = there.get((pod, container))
        if lines is None:
            why = (
                f'previous terminated container "{container}" in pod "{pod}" not found'
                if there is self.previous
                else f'container "{container}" in pod "{pod}" is waiting to start: ContainerCreating'
            )
            return refusal(400, "BadRequest", why)
        since = request.query.get("sinceTime", "")
        shown = [line for line in lines if line[:19] >= since[:19]]
        if "tailLines" in request.query:
            shown = shown[len(shown) - min(len(shown), int(request.query["tailLines"])) :]
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        for line in shown:
            await response.write(f"{line}\n".encode())
        if request.query.get("follow") == "true":
            await self._ended.wait()
        return response


def refusal(status: int, reason: str, message: str) -> web.Response:
    """A Status object, as the API server refuses."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": status,
    }
    return web.json_response(body, status=status)


def _has_labels(item: Object, selector: str) -> bool:
    labels = item["metadata"].get("labels", {})
    return all(labels.get(key) == value for key, _, value in (part.partition("=") for part in _parts(selector)))


def _has_fields(item: Object, selector: str) -> bool:
    def value_at(path: str) -> object:
        found: object = item
        for step in path.split("."):
            found = found.get(step) if isinstance(found, dict) else None
        return found

    return all(value_at(path) == value for path, _, value in (part.partition("=") for part in _parts(selector)))


def _parts(selector: str) -> list[str]:
    return selector.split(",") if selector else []
