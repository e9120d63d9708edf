"""The operator while it leads: what one model, one API or one lost message does to it does not harm the others."""

from __future__ import annotations

import asyncio
import copy
from typing import cast

import kopf
import pytest
import yaml
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.controller import RESYNC_S, Controller
from outrider_operator.kube.client import Kube
from outrider_operator.kube.discovery import optional_apis
from outrider_operator.kube.errors import KubeError
from outrider_operator.kube.kinds import Kind
from outrider_operator.metrics import OperatorMetrics, ScalingMetrics
from outrider_operator.reconcile import reconcile
from outrider_operator.reconcile.queue import WorkQueue
from outrider_operator.reconcile.store import Key
from outrider_operator.resources.build import build
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.pod import Object
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from support.memory_kube import MemoryKube
from unit.operator.test_queue import virtually
from unit.operator.test_reconcile import SAMPLE


class Term:
    """A term of leadership on a server in memory, with what its watches have told so far."""

    def __init__(self) -> None:
        self.kube = MemoryKube()
        self.registry = CollectorRegistry()
        self.queue: WorkQueue[Key] = WorkQueue()

        async def login(**_: object) -> kopf.ConnectionInfo:
            return kopf.ConnectionInfo(server="http://127.0.0.1")

        metrics = OperatorMetrics(self.registry, lambda: len(self.queue))
        scaling = ScalingMetrics(self.registry)
        self.controller = Controller(cast("Kube", self.kube), Platform(), metrics, scaling, self.queue, login)

    def add(self, name: str) -> Object:
        """Somebody creates a model, and the watch tells."""
        model = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
        model["metadata"] |= {"name": name, "namespace": "chat"}
        there = self.kube.add(model)
        self.controller._watcher.model("ADDED", copy.deepcopy(there))
        return there

    def ready(self, name: str) -> Object:
        """What the condition Ready of a model says."""
        status = self.kube.objects["SpeculativeModel", "chat", name]["status"]
        return next(each for each in status["conditions"] if each["type"] == "Ready")

    async def work(self, for_s: float) -> None:
        """The queue's part, for so long."""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(for_s):
                await self.queue.run(self.controller._work, workers=2)


def test_a_model_that_the_operator_fails_at_is_told_so_and_the_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def building(model: SpeculativeModel, platform: Platform) -> list[Object]:
        if model.metadata.name == "deep":
            raise RecursionError("what is in the object: a secret")
        return build(model, platform)

    monkeypatch.setattr(reconcile, "build", building)

    async def scenario() -> None:
        term = Term()
        term.add("deep")
        await term.work(1)
        term.add("ordinary")
        with capture_logs() as logs:
            await term.work(60)
        assert ("Deployment", "chat", "ordinary-target") in term.kube.objects
        assert term.ready("deep")["reason"] == "Failed"
        assert "RecursionError in test_controller.py:" in term.ready("deep")["message"]
        assert term.queue.failures(Key("chat", "deep")) > 5
        assert term.queue.failures(Key("chat", "ordinary")) == 0
        told = [each for each in logs if each["event"] == "reconcile raised"]
        assert {each["model"] for each in told} == {"deep"}
        assert "a secret" not in f"{logs}{term.ready('deep')}{term.kube.events}"

    virtually(scenario)


def test_an_api_that_fails_for_long_is_told_of_every_model_that_waits_for_it() -> None:
    def failing(verb: str) -> None:
        if verb == "apply":
            raise KubeError(503, "ServiceUnavailable", "PATCH /…: try later")

    async def scenario() -> None:
        term = Term()
        term.kube.before = failing
        term.add("patient")
        await term.work(5)
        assert "status" not in term.kube.objects["SpeculativeModel", "chat", "patient"]
        await term.work(120)
        assert (term.ready("patient")["reason"], term.ready("patient")["message"]) == ("Refused", "PATCH /…: try later")

    virtually(scenario)


def test_what_has_gone_while_a_watch_was_cut_is_found_out_at_the_resync() -> None:
    async def scenario() -> None:
        term = Term()
        for name in ("kept", "deleted"):
            term.add(name)
        await term.work(30)
        service = ("Service", "chat", "kept-target")
        del term.kube.objects["SpeculativeModel", "chat", "deleted"]
        del term.kube.objects[service]
        term.kube.events.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(RESYNC_S + RESYNC_S / 5):
                await asyncio.gather(term.queue.run(term.controller._work, workers=2), term.controller._resync([], []))
        assert term.controller._store.models == [Key("chat", "kept")]
        assert service in term.kube.objects
        assert [each["message"] for each in term.kube.events if each["reason"] == "Restored"] == [
            "Service kept-target was deleted by another; it is made again"
        ]

    virtually(scenario)


def test_at_the_start_of_a_term_a_server_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller's own first questions; kopf, which comes after them, is left out."""
    started: list[list[str]] = []
    failures = iter(range(6))

    def failing(_: str) -> None:
        if next(failures, None) is not None:
            raise KubeError(503, "ServiceUnavailable", "GET /apis: the server is away")

    async def scenario() -> None:
        term = Term()

        async def started_with(looked_at: list[Kind], _namespaces: object) -> None:
            started.append([kind.plural for kind in looked_at])

        monkeypatch.setattr(kopf, "operator", lambda **_: asyncio.Event().wait())
        monkeypatch.setattr(term.controller, "_resync", started_with)
        term.kube.before = failing
        await term.controller.run([], "one")

    virtually(scenario)
    assert started == [["pods", "horizontalpodautoscalers"]]


def test_an_api_that_does_not_answer_stays_what_it_was_and_the_others_are_found() -> None:
    known = Platform().optional_apis
    route, monitor = ("route.openshift.io/v1", "Route"), ("monitoring.coreos.com/v1", "PodMonitor")

    async def scenario() -> None:
        kube = MemoryKube()
        kube.served = {"monitoring.coreos.com/v1": {"PodMonitor"}, "route.openshift.io/v1": None}
        assert await optional_apis(cast("Kube", kube), known) == {route, monitor}
        assert await optional_apis(cast("Kube", kube), frozenset()) == {monitor}

    virtually(scenario)


def test_an_owner_that_is_taken_off_an_object_is_put_back_at_once() -> None:
    async def scenario() -> None:
        term = Term()
        term.add("kept")
        await term.work(30)
        service = ("Service", "chat", "kept-target")
        changed = copy.deepcopy(term.kube.objects[service])
        owners = changed["metadata"].pop("ownerReferences")
        del term.kube.objects[service]["metadata"]["ownerReferences"]
        term.kube.events.clear()
        term.controller._watcher.child("MODIFIED", term.kube._put(changed, {}))
        await term.work(1)
        assert term.kube.objects[service]["metadata"]["ownerReferences"] == owners
        assert [each["message"] for each in term.kube.events] == [
            "Service kept-target was changed by another; it is put back"
        ]

    virtually(scenario)
