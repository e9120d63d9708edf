"""The operator while it leads: what one model, one API or one lost message does to it does not harm the others."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Callable, Collection
from typing import cast

import kopf
import pytest
import yaml
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.controller import RESYNC_S, Controller
from outrider_operator.kube.client import Kube
from outrider_operator.kube.discovery import optional_apis
from outrider_operator.kube.errors import KubeError
from outrider_operator.kube.kinds import DEPLOYMENT, POD, SPECULATIVE_MODEL, Kind
from outrider_operator.metrics import OperatorMetrics, ScalingMetrics
from outrider_operator.reconcile import reconcile
from outrider_operator.reconcile.queue import FIRST_BACKOFF_S, JITTER, LONGEST_BACKOFF_S, WorkQueue
from outrider_operator.reconcile.store import Key, Store
from outrider_operator.resources.build import build
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.pod import Object
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from support.cluster_objects import pod
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

    def edit(self, name: str, **target: object) -> None:
        """Somebody applies the model with another target, and the watch tells."""
        model = copy.deepcopy(self.kube.objects["SpeculativeModel", "chat", name])
        model["spec"]["target"] |= target
        there = self.kube._put(model, {"generation": model["metadata"]["generation"] + 1})
        self.controller._watcher.model("MODIFIED", there)

    def tell_of_statuses(self) -> None:
        """From now on the watch tells of each status that is written, a moment after the answer."""
        write = self.kube.merge_status

        async def writing(item: Object, status: Object) -> Object:
            written = await write(item, status)
            told = copy.deepcopy(written)
            asyncio.get_running_loop().call_later(0.02, self.controller._watcher.model, "MODIFIED", told)
            return written

        self.kube.merge_status = writing  # type: ignore[method-assign]

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


def refusing_in_other_words_each_time(tries: list[float]) -> Callable[[str], None]:
    """A webhook that is away: each call comes from another port. tries: when."""

    def refusing(verb: str) -> None:
        if verb == "apply":
            tries.append(asyncio.get_running_loop().time())
            raise KubeError(500, "InternalError", f"PATCH /…: read tcp 10.0.0.1:{40000 + len(tries)}->10.0.0.9:9443")

    return refusing


async def edited_and_refused(tries: list[float]) -> Term:
    """A model that has run, with an edit that the server refuses in other words each time. tries: when."""
    term = Term()
    term.tell_of_statuses()
    term.add("m")
    await term.work(30)
    term.kube.before = refusing_in_other_words_each_time(tries)
    term.edit("m", dtype="float32")
    term.kube.writes.clear()
    return term


def test_a_call_that_fails_in_other_words_each_time_is_tried_as_seldom_as_in_the_same_words() -> None:
    async def scenario() -> None:
        tries = list[float]()
        term = await edited_and_refused(tries)
        await term.work(120)
        waits = [after - before for before, after in itertools.pairwise(tries)]
        least = [min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**index) * (1 - JITTER) for index in range(len(waits))]
        assert all(wait >= shortest for wait, shortest in zip(waits, least, strict=True))
        assert len(tries) > reconcile.TOLD_AFTER + 1
        assert [verb for verb, _ in term.kube.writes] == ["status"] * (len(tries) - reconcile.TOLD_AFTER)
        assert term.ready("m")["message"].endswith(f":{40000 + len(tries)}->10.0.0.9:9443")

    virtually(scenario)


def test_a_spec_that_is_edited_is_tried_at_once_however_often_the_one_before_has_failed() -> None:
    async def scenario() -> None:
        tries = list[float]()
        term = await edited_and_refused(tries)
        await term.work(120)
        failed = len(tries)
        term.kube.before = lambda _: None
        term.edit("m", dtype="bfloat16")
        await term.work(1)
        assert len(tries) == failed
        assert term.ready("m")["reason"] != "Refused"

    virtually(scenario)


def test_a_spec_that_is_edited_while_the_one_before_fails_is_tried_at_once() -> None:
    async def scenario() -> None:
        term = Term()
        term.add("m")
        await term.work(30)

        def edited_meanwhile(verb: str) -> None:
            if verb == "apply":
                term.kube.before = lambda _: None
                term.edit("m", dtype="bfloat16")
                raise KubeError(429, "TooManyRequests", "PATCH /…: try later", retry_after_s=60.0)

        term.kube.before = edited_meanwhile
        term.edit("m", dtype="float32")
        await term.work(1)
        assert "--dtype=bfloat16" in str(term.kube.objects["Deployment", "chat", "m-target"])

    virtually(scenario)


def test_a_status_that_somebody_clears_while_a_model_fails_is_there_again_when_it_is_tried_again() -> None:
    async def scenario() -> None:
        tries = list[float]()
        term = await edited_and_refused(tries)
        await term.work(120)
        failed = len(tries)
        cleared = copy.deepcopy(term.kube.objects["SpeculativeModel", "chat", "m"])
        del cleared["status"]
        term.controller._watcher.model("MODIFIED", term.kube._put(cleared, {}))
        await term.work(1)
        assert len(tries) == failed
        await term.work(LONGEST_BACKOFF_S)
        assert term.ready("m")["reason"] == "Refused"

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


def test_a_model_that_is_made_again_while_the_resync_lists_what_is_there_is_kept() -> None:
    async def scenario() -> None:
        term = Term()
        term.add("m")
        await term.work(30)
        listed = term.kube.names

        async def listing(kind: Kind, _namespaces: Collection[str], _selector: str = "") -> set[tuple[str, str]]:
            deleted = term.kube.objects.pop(("SpeculativeModel", "chat", "m"))
            there = await listed(kind, _namespaces, _selector)
            term.controller._watcher.model("DELETED", deleted)
            term.add("m")
            return there

        term.kube.names = listing  # type: ignore[method-assign]
        await term.controller._drop_lost([SPECULATIVE_MODEL], [])
        assert term.controller._store.models == [Key("chat", "m")]

    virtually(scenario)


@pytest.mark.parametrize("kind", [DEPLOYMENT, POD], ids=["Deployment", "Pod"])
def test_of_what_has_gone_unheard_another_of_the_same_name_is_kept(kind: Kind) -> None:
    store = Store()

    def see(uid: str) -> None:
        metadata = {"name": "m-target", "namespace": "chat", "uid": uid, "resourceVersion": "1"}
        if kind == POD:
            running = pod("target")
            store.pod_seen({**running, "metadata": {**running["metadata"], "uid": uid}})
        else:
            owner = {"kind": "SpeculativeModel", "name": "m", "uid": "m", "controller": True}
            store.child_seen({"kind": kind.name, "metadata": {**metadata, "ownerReferences": [owner]}})

    see("first")
    before = store.known(kind)
    see("second")
    known = store.known(kind)
    store.drop(kind, before)
    assert {each.uid for each in store.known(kind)} == {"second"}
    store.drop(kind, known)
    assert store.known(kind) == set()


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
