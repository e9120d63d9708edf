"""What kubelets, and the pods' own processes, would do in one namespace: a control plane alone has neither."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from support.pod_pages import FakeDraft, FakeTarget, Load, answering

from cluster.access import access

OURS = "app.kubernetes.io/managed-by=outrider-operator"
PORTS = {"target": 8000, "draft": 9400}
LOOKS_EVERY_S = 0.2
# Every pod has an address of its own, as in a cluster; those of the loopback are many.
_addresses = (f"127.7.{high}.{low}" for high, low in itertools.product(range(1, 255), range(1, 255)))


@dataclass(frozen=True)
class Look:
    """What there was at one moment: replicas by role, what the targets were told, how many of them speculate, and how
    many drafts answer.
    """

    at_s: float
    replicas: dict[str, int]
    told: str
    allowed: int
    drafts: int


@dataclass
class Role:
    """How the pods of one role fare. starts: whether new ones become ready. waiting: why they do not."""

    starts: bool = True
    waiting: str = ""


class Kubelet:
    """Gives every pod an address, has it answer there, and says that it is ready."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._client = httpx.Client(
            **access(kubeconfig),
        )
        self._namespace = namespace
        self._running = ExitStack()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure: Exception | None = None
        self.load = Load()
        self.roles = {"target": Role(), "draft": Role()}
        self.targets: dict[str, FakeTarget] = {}
        self.looks: list[Look] = []
        self.broken = False
        self._drafts: set[str] = set()
        self._told: dict[str, str] = {}

    def __enter__(self) -> Kubelet:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._ends.set()
        self._thread.join(30)
        self._running.close()
        self._client.close()
        assert self.failure is None, self.failure

    def _run(self) -> None:
        try:
            while not self._ends.wait(LOOKS_EVERY_S):
                self._look()
        except Exception as error:  # the test's own thread is to hear of it
            self.failure = error

    def _look(self) -> None:
        deployments = self._list("apis/apps/v1", "deployments")
        told = "".join(
            (each.get("data") or {}).get("speculation", "")
            for each in self._list("api/v1", "configmaps")
            if each["metadata"]["name"].endswith("-control")
        )
        pods = self._list("api/v1", "pods")
        for pod in pods:
            self._bring(pod)
        there = {pod["metadata"]["name"] for pod in pods}
        self.targets = {name: target for name, target in self.targets.items() if name in there}
        for target in self.targets.values():
            target.allowed, target.broken = told != "off", self.broken
        replicas = {each["metadata"]["name"].rpartition("-")[2]: each["spec"]["replicas"] for each in deployments}
        allowed = sum(target.allowed for target in self.targets.values())
        drafts = sum(name in self._drafts for name in there)
        self.looks.append(Look(time.monotonic(), replicas, told, allowed, drafts))

    def _bring(self, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        role = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        now = self.roles[role]
        if now.starts and not pod.get("status", {}).get("podIP"):
            self._say(pod, {"phase": "Running", "podIP": self._start(name, role), **_ready(role)})
        elif now.waiting and self._told.get(name) != now.waiting and not pod.get("status", {}).get("podIP"):
            self._told[name] = now.waiting
            waiting = {"name": role, "ready": False, "restartCount": 0, "image": "", "imageID": ""}
            state = {"state": {"waiting": {"reason": now.waiting}}}
            self._say(pod, {"phase": "Pending", "containerStatuses": [{**waiting, **state}]})

    def _start(self, name: str, role: str) -> str:
        address = next(_addresses)
        target = FakeTarget(self.load)
        if role == "target":
            self.targets[name] = target
        else:
            self._drafts.add(name)
        answers = target.answer if role == "target" else FakeDraft().answer
        self._running.enter_context(answering(address, PORTS[role], answers))
        return address

    def _say(self, pod: dict[str, Any], status: dict[str, Any]) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/pods/{pod['metadata']['name']}/status"
        said = self._client.patch(
            path, json={"status": status}, headers={"Content-Type": "application/strategic-merge-patch+json"}
        )
        if said.status_code != 404:  # it may be gone by now
            said.raise_for_status()

    def _list(self, root: str, plural: str) -> list[dict[str, Any]]:
        found = self._client.get(f"/{root}/namespaces/{self._namespace}/{plural}", params={"labelSelector": OURS})
        items: list[dict[str, Any]] = found.raise_for_status().json()["items"]
        return items


def _ready(role: str) -> dict[str, Any]:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    running = {"name": role, "ready": True, "restartCount": 0, "image": "", "imageID": ""}
    return {
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at}],
        "containerStatuses": [{**running, "state": {"running": {"startedAt": at}}}],
    }
