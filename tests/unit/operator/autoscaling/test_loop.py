"""The loop between pods' readings and the API server: what it carries out, what it says, and what it leaves alone."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

import pytest
from outrider_operator.autoscaling import follow, loop, timing
from outrider_operator.autoscaling.decide import decide
from outrider_operator.autoscaling.decision import Decision, Reason
from outrider_operator.autoscaling.history import GateState, History, Known
from outrider_operator.autoscaling.loop import Loop
from outrider_operator.autoscaling.observation import Observation
from outrider_operator.autoscaling.observe import speculates
from outrider_operator.autoscaling.pods import SeenPod
from outrider_operator.autoscaling.policy import Policy
from outrider_operator.autoscaling.source import Read
from outrider_operator.kube.errors import KubeError
from outrider_operator.measure.scrape import Scrape
from outrider_operator.metrics import ScalingMetrics
from outrider_operator.reconcile.store import Key
from outrider_operator.resources.pod import Object
from prometheus_client import CollectorRegistry
from support import cluster_objects as objects
from support.memory_kube import Place
from unit.operator.test_reconcile import Cluster

KEY = Key("chat", "qwen-coder")
TARGET: Place = ("Deployment", "chat", "qwen-coder-target")
DRAFT: Place = ("Deployment", "chat", "qwen-coder-draft")
CONTROL: Place = ("ConfigMap", "chat", "qwen-coder-control")
BOTH = {"target": {"maxReplicas": 4}, "draft": {"maxReplicas": 2}}
BUSY = {"generation_tokens_total": 600.0, "decode_tokens_total": 500.0, "decode_sequence_steps_total": 250.0}
SPEAKS = {"speculation_allowed": 1.0, "draft_connected": 1.0, "speculation_goodput_gain": 1.5}


class Pods:
    """A source and the pods' pages: what is read is what the test has put here, of targets and of drafts."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, float]] = {"target": {**BUSY, **SPEAKS}, "draft": {}}
        self.silent = False
        self.once = False
        self.broken = False
        self.health = "{}"
        self.asked: list[str] = []

    async def read(self, pods: Collection[SeenPod]) -> Read:
        if self.broken:
            raise IndexError("string index out of range")
        if self.silent:
            return Read({}, {pod.uid: "no answer within 5 s" for pod in pods})
        if self.once:
            return Read({pod.uid: (Scrape(60.0, 0, self.values[pod.role]),) for pod in pods})
        return Read({pod.uid: (Scrape(0.0, 0), Scrape(60.0, 0, self.values[pod.role])) for pod in pods})

    async def get(self, _pod: SeenPod, path: str) -> str:
        self.asked.append(path)
        return self.health


class Queue:
    def __init__(self) -> None:
        self.added: list[Key] = []

    def add(self, key: Key, _after_s: float = 0.0) -> None:
        self.added.append(key)


class Rig:
    """A model whose pods are ready, its operator, and decisions that the test makes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, autoscaling: Any = None, **spec: Any) -> None:
        self.cluster = Cluster()
        self.cluster.edit(lambda old: old.update(spec | ({"autoscaling": autoscaling} if autoscaling else {})))
        self.cluster.settle()
        self.pods = Pods()
        self.now_s = 1000.0
        self.decision = Decision(1, 1, True, ())
        self.seen: list[Observation] = []
        self.there: dict[str, Object] = {}  # pods, by uid
        self.history = History(0.0)  # as the last decision found it
        self.leaves: History | None = None  # as it leaves it; None: as it was
        monkeypatch.setattr(follow, "decide", self._decide)
        self.registry = CollectorRegistry()
        self.metrics = ScalingMetrics(self.registry)
        self.start()

    def start(self, sees_pods: bool = True) -> None:
        """A new process: it knows what the watches tell. sees_pods: it has the right to."""
        self.cluster.restart()
        self.queue = Queue()
        self.loop = Loop(
            self.cluster.kube,  # type: ignore[arg-type]
            self.cluster.store,
            self.queue,  # type: ignore[arg-type]
            self.metrics,
            self.pods,
            self.pods,  # type: ignore[arg-type]
            sees_pods=sees_pods,
            clock=lambda: self.now_s,
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        )
        if sees_pods:
            self.follow_pods()

    def _decide(self, seen: Observation, _policy: Policy, history: History, _now_s: float) -> tuple[Decision, History]:
        self.seen.append(seen)
        self.history = history
        return self.decision, self.leaves or history

    def follow_pods(self) -> None:
        """There is a ready pod for each that is wanted, of the newest revision."""
        for place in (TARGET, DRAFT):
            for number in range(self.replicas(place)):
                self.pod(place, f"r1-{number}")

    def pod(self, place: Place, suffix: str, is_ready: bool = True) -> None:
        """One that its Deployment makes now."""
        made = objects.pod(place[2].rpartition("-")[2], suffix=suffix, ready=is_ready)
        made["spec"] = copy.deepcopy(self.cluster.kube.objects[place]["spec"]["template"]["spec"])
        made["metadata"]["labels"]["pod-template-hash"] = suffix.partition("-")[0]
        self.there[made["metadata"]["uid"]] = ready(made) if is_ready else made
        self.cluster.store.pod_seen(made)

    def gone(self, pod: Object) -> None:
        self.there.pop(pod["metadata"]["uid"], None)
        self.cluster.store.pod_gone(pod)

    def start_amid(self) -> None:
        """A new process, that finds the very pods of the one before."""
        there = list(self.there.values())
        self.start()
        for each in list(self.there.values()):
            self.gone(each)
        for each in there:
            self.cluster.store.pod_seen(each)

    def replicas(self, place: Place) -> int:
        found: int = self.cluster.kube.objects[place]["spec"]["replicas"]
        return found

    def tick(self, passes_s: float = timing.TICK_S) -> None:
        """And reconcile does what it is told to, as often as it is told."""
        asyncio.run(self.loop.tick())
        self.now_s += passes_s
        for _ in self.queue.added:
            self.cluster.reconcile()
        self.queue.added.clear()

    @property
    def status(self) -> Object:
        found: Object = self.cluster.model["status"]
        return found

    @property
    def events(self) -> list[str]:
        return [each["reason"] for each in self.cluster.kube.events]

    def writes(self) -> list[tuple[str, Place]]:
        """Since it was asked last."""
        made = list(self.cluster.kube.writes)
        self.cluster.kube.writes.clear()
        return made

    def desired(self) -> dict[tuple[str, str], float]:
        """Of each role and reason."""
        return {
            (sample.labels["role"], sample.labels["reason"]): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "outrider_desired_replicas"
        }


def ready(pod: Object) -> Object:
    at = pod["metadata"]["creationTimestamp"]
    pod["status"] |= {
        "podIP": "10.1.2.3",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at}],
    }
    return pod


def because(target: int, draft: int = 1, speculate: bool = True, code: str = "ScaleUp") -> Decision:
    reasons = (
        Reason("target", code, f"{target} are needed."),
        Reason("draft", "DraftLoad", f"{draft} would do."),
        Reason("speculation", "Pays", "The gain is 1.50."),
    )
    return Decision(target, draft, speculate, reasons)


Make = Callable[..., Rig]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(autoscaling: Any = None, **spec: Any) -> Rig:
        return Rig(monkeypatch, autoscaling, **spec)

    return make


def test_a_decision_is_carried_out_told_and_not_repeated(rig: Make) -> None:
    model = rig(BOTH)
    model.tick()
    model.writes()
    model.decision = because(target=3)
    model.tick()
    assert model.replicas(TARGET) == 3
    assert [(verb, place) for verb, place in model.writes() if verb == "scale"] == [("scale", TARGET)]
    assert model.events[-1] == "ScaledUp"
    assert model.status["scalingDecisions"] == [
        {
            "time": "2026-01-01T00:00:00Z",
            "role": "target",
            "from": 1,
            "to": 3,
            "reason": "ScaleUp",
            "message": "3 are needed.",
        }
    ]
    model.follow_pods()
    model.tick()
    model.writes()
    model.tick()
    assert model.writes() == []
    assert model.seen[-1].target.wanted == 3


def test_what_is_measured_is_in_the_status_beside_what_reconcile_says(rig: Make) -> None:
    model = rig()
    model.tick()
    conditions = {each["type"]: (each["status"], each["reason"]) for each in model.status["conditions"]}
    assert conditions["MetricsAvailable"] == ("True", "Read")
    assert conditions["SpeculationActive"] == ("True", "Speculating")
    assert conditions["DraftCompatible"] == ("True", "Compatible")
    assert conditions["Ready"][0] == "True"
    assert "ScalingActive" not in conditions
    assert (model.status["acceptedTokensPerStep"], model.status["goodputGain"]) == (2.0, 1.5)
    assert model.seen == []


def test_figures_are_written_once_a_minute_at_most_and_only_when_they_have_changed(rig: Make) -> None:
    model = rig()
    model.tick(passes_s=timing.WRITE_S / 2)
    model.pods.values["target"]["speculation_goodput_gain"] = 3.0
    model.writes()
    model.tick(passes_s=timing.WRITE_S / 2)
    assert model.writes() == []
    model.tick(passes_s=timing.WRITE_S)
    assert [verb for verb, _ in model.writes()] == ["status"]
    assert model.status["goodputGain"] == 3.0
    model.pods.values["target"]["speculation_goodput_gain"] = 3.1
    model.tick(passes_s=timing.WRITE_S)
    assert model.writes() == []


def test_a_new_process_leaves_the_status_as_it_is_until_it_has_looked(rig: Make) -> None:
    model = rig(BOTH)
    model.decision = because(target=2)
    model.tick()
    model.follow_pods()
    model.tick()
    before = model.status
    model.writes()
    model.start()
    model.cluster.reconcile()
    assert model.writes() == []
    model.pods.once = True
    model.tick()
    assert model.writes() == []
    model.pods.once = False
    model.tick()
    assert model.writes() == []
    assert model.status == before


def test_while_the_watches_have_told_half_nothing_is_concluded_from_it(rig: Make) -> None:
    model = rig(BOTH)
    model.tick()
    model.writes()
    known = model.seen[-1]
    model.cluster.restart()
    model.loop._store = model.cluster.store  # the pods are not told of yet
    model.tick()
    assert model.writes() == []
    assert model.seen[-1] is known


def test_advice_touches_nothing_and_is_told_once(rig: Make) -> None:
    model = rig({"mode": "Advisory", **BOTH})
    model.decision = because(target=3, speculate=False)
    for _ in range(3):
        model.tick()
    assert {verb for verb, _ in model.writes()} == {"status"} | {"apply", "create"}
    assert (model.replicas(TARGET), model.cluster.kube.objects[CONTROL].get("data")) == (1, None)
    told = {each["role"]: (each["from"], each["to"]) for each in model.status["scalingDecisions"]}
    assert told == {"target": (1, 3), "speculation": (1, 0)}
    assert model.desired()["target", "ScaleUp"] == 3
    assert "ScaledUp" not in model.events
    assert model.status["speculating"] is True


def test_targets_are_told_before_the_draft_goes_and_after_it_has_come(rig: Make) -> None:
    model = rig(BOTH)
    model.decision = because(target=1, draft=0, speculate=False)
    model.tick()
    assert model.cluster.kube.objects[CONTROL]["data"] == {"speculation": "off"}
    assert model.replicas(DRAFT) == 1
    assert model.status["speculating"] is False
    model.tick()
    assert model.replicas(DRAFT) == 1, "the target still says that it may"
    model.pods.values["target"]["speculation_allowed"] = 0.0
    model.tick()
    assert model.replicas(DRAFT) == 0
    assert model.events[-2:] == ["SpeculationStopped", "ScaledDown"]
    model.cluster.store.pod_gone(objects.pod("draft", suffix="r1-0"))
    model.cluster.settle()
    model.decision = because(target=1, draft=1)
    model.tick()
    assert model.replicas(DRAFT) == 1
    assert model.cluster.kube.objects[CONTROL]["data"] == {"speculation": "off"}
    model.follow_pods()
    model.tick()
    assert model.cluster.kube.objects[CONTROL]["data"] == {"speculation": "on"}


def test_a_target_that_never_says_that_it_has_stopped_is_not_waited_for_for_ever(rig: Make) -> None:
    model = rig(BOTH)
    model.decision = because(target=1, draft=0, speculate=False)
    model.tick()
    model.tick(passes_s=timing.TOLD_S)
    assert model.replicas(DRAFT) == 1
    model.tick()
    assert model.replicas(DRAFT) == 0


@pytest.mark.parametrize("change", ["autoscaling", "draft"])
def test_what_was_turned_off_is_turned_on_when_it_is_not_for_the_operator_to_say_any_more(
    rig: Make, change: str
) -> None:
    model = rig(BOTH)
    model.decision = because(target=1, speculate=False)
    model.tick()
    model.cluster.edit(lambda spec: spec.pop(change) and spec.get("autoscaling", {}).pop("draft", None))
    model.cluster.settle()
    model.decision = because(target=1, draft=0, speculate=False)
    model.tick()
    assert model.cluster.kube.objects[CONTROL]["data"] == {"speculation": "on"}
    assert "speculating" not in model.status


@pytest.mark.parametrize(
    ("change", "forgets"),
    [
        pytest.param({"draft": {"model": {"uri": "hf://org/better"}}}, True, id="another draft"),
        pytest.param({"draft": {"quantization": "int8"}}, True, id="the draft in 8 bits"),
        pytest.param({"target": {"model": {"uri": "hf://org/bigger"}}}, True, id="another target"),
        pytest.param({"target": {"maxNumSeqs": 4}}, False, id="the same models"),
    ],
)
def test_what_a_draft_earned_says_nothing_of_another_model(rig: Make, change: Object, forgets: bool) -> None:
    model = rig(BOTH)
    closed = GateState(open=False, since_s=0.0, told=False, backoff_s=3600.0, flips=(0.0,))
    known = Known(path_acceptance=(0.02,))
    model.leaves = History(0.0, gate=closed, known=known)
    model.tick()
    model.tick()
    assert model.history.gate == closed

    def edit(spec: Object) -> None:
        for role, fields in change.items():
            spec[role].update(fields)

    model.cluster.edit(edit)
    model.cluster.settle()
    model.tick()
    assert model.history.gate == closed, "what is measured is the old one's still"
    model.follow_pods()
    model.tick()
    assert model.history.gate is not None
    assert (model.history.gate.open, model.history.known == Known()) == (forgets, forgets)
    assert model.history.gate.flips == (0.0,), "how often it changed within the hour still counts"


def test_a_pod_of_the_old_draft_that_comes_late_is_no_other_model(rig: Make) -> None:
    """Who scales in the middle of a rollout gets pods of both revisions, and the youngest may be an old one."""
    model = rig(BOTH)
    closed = GateState(open=False, since_s=0.0, told=False, backoff_s=3600.0)
    model.leaves = History(0.0, gate=closed)
    late = copy.deepcopy(next(each for uid, each in model.there.items() if uid.endswith("draft-r1-0")))
    late["metadata"] |= {"uid": "late", "name": "late", "creationTimestamp": "2026-11-21T10:00:00Z"}
    late["metadata"]["labels"]["pod-template-hash"] = "r0"
    model.tick()
    model.cluster.edit(better)
    model.cluster.settle()
    model.follow_pods()
    model.tick()
    assert model.history.gate is not None
    assert model.history.gate.open
    model.cluster.store.pod_seen(late)
    model.tick()
    model.cluster.store.pod_gone(late)
    model.tick()
    assert model.history.gate == closed


def better(spec: Object) -> None:
    spec["draft"]["model"]["uri"] = "hf://org/better"


class Rollout:
    """Two drafts, of which at least one is kept, and an operator that decides by itself what their gain is worth."""

    def __init__(self, rig: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rig = rig({"target": {"maxReplicas": 4}, "draft": {"minReplicas": 2, "maxReplicas": 4}})
        monkeypatch.setattr(follow, "decide", decide)
        self.told: list[bool] = []

    @property
    def speculates(self) -> bool:
        return speculates(self.rig.cluster.kube.objects[CONTROL])

    def run(self, seconds: float, gain: float) -> list[bool]:
        """Whether the targets may ask a draft, tick by tick, while what drafts earn is so much."""
        since = len(self.told)
        for _ in range(int(seconds / timing.TICK_S)):
            said = {"draft_goodput_gain": gain} if self.speculates else {}
            self.rig.pods.values["target"] = {**BUSY, **SPEAKS, **said}
            self.rig.tick()
            self.rig.cluster.watch()
            self.told.append(self.speculates)
        return self.told[since:]

    def begin(self) -> None:
        """Another draft is asked for: of the old ones one goes, and the first new one loads."""
        self.rig.cluster.edit(better)
        self.rig.cluster.settle()
        self.rig.gone(objects.pod("draft", suffix="r1-1"))
        self.rig.pod(DRAFT, "r2-0", is_ready=False)

    def end(self) -> None:
        """Both new ones are ready."""
        self.rig.gone(objects.pod("draft", suffix="r1-0"))
        for suffix in ("r2-0", "r2-1"):
            self.rig.pod(DRAFT, suffix)


@pytest.mark.parametrize("restarted", [False, True], ids=["one operator", "another one while the draft loads"])
@pytest.mark.parametrize("before_s", [300, 600])
def test_a_new_draft_is_tried_when_it_is_there_and_not_with_what_the_old_one_earns(
    rig: Make, monkeypatch: pytest.MonkeyPatch, before_s: float, restarted: bool
) -> None:
    """The old one loses, the new one wins, and takes 5 minutes to load while one of the old still answers."""
    rollout = Rollout(rig, monkeypatch)
    assert not rollout.run(before_s, 0.9)[-1]
    rollout.begin()
    if restarted:
        rollout.rig.start_amid()
    assert not any(rollout.run(300, 0.9)), "one of the old is no new one"
    rollout.end()
    assert all(rollout.run(900, 1.6)), "at once and for good"


def test_a_new_draft_that_loses_too_can_go_off_again_whatever_the_old_one_did_before(
    rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = Rollout(rig, monkeypatch)
    assert not rollout.run(1500, 0.9)[-1]
    before = sum(was != is_ for was, is_ in itertools.pairwise([True, *rollout.told]))
    assert before == 3, "off, tried again, and off: one more is left in this hour"
    rollout.begin()
    rollout.run(300, 0.9)
    rollout.end()
    told = rollout.run(600, 0.9)
    assert (told[0], told[-1]) == (True, False)


def test_a_paused_model_is_measured_and_left_alone(rig: Make) -> None:
    model = rig(BOTH)
    model.cluster.edit(lambda spec: spec.update(paused=True))
    model.decision = because(target=3)
    model.tick()
    assert model.seen == []
    found = {each["type"]: each["reason"] for each in model.status["conditions"]}
    assert (found["ScalingActive"], found["MetricsAvailable"]) == ("Paused", "Read")


def test_a_bad_spec_scales_nothing(rig: Make) -> None:
    model = rig(BOTH)
    model.tick()
    model.cluster.edit(lambda spec: spec["target"].update(dtype="float7"))
    model.cluster.settle()
    model.decision = because(target=3)
    model.tick()
    assert model.replicas(TARGET) == 1


def test_no_answer_is_told_and_decided_on_as_such(rig: Make) -> None:
    model = rig(BOTH)
    model.tick()
    model.pods.silent = True
    model.tick()
    found = {each["type"]: each for each in model.status["conditions"]}
    assert found["MetricsAvailable"]["status"] == "False"
    assert "no answer within 5 s" in found["MetricsAvailable"]["message"]
    assert (found["ScalingActive"]["status"], found["ScalingActive"]["reason"]) == ("False", "NoMetrics")
    assert "SpeculationActive" not in found
    assert model.seen[-1].signals is None
    assert model.events[-1] == "ScalingHeld"
    model.pods.silent = False
    model.tick()
    assert model.events[-1] == "ScalingActive"


def test_a_rollout_that_hangs_stops_no_scaling(rig: Make) -> None:
    """Two targets serve, and the pod that is to replace the first of them has an image that is not there."""
    model = rig(BOTH)
    model.decision = because(target=2)
    model.tick()
    model.follow_pods()
    hung = objects.pod("target", suffix="r2-0", state={"waiting": {"reason": "ImagePullBackOff"}}, ready=False)
    hung["metadata"]["labels"]["pod-template-hash"] = "r2"
    hung["metadata"]["creationTimestamp"] = "2026-11-21T10:00:00Z"
    model.cluster.store.pod_gone(objects.pod("target", suffix="r1-0"))
    model.cluster.store.pod_seen(hung)
    model.decision = because(target=3)
    model.tick()
    assert model.seen[-1].signals is not None
    assert model.seen[-1].signals.pods == model.seen[-1].target.ready == 1
    assert model.replicas(TARGET) == 3
    found = {each["type"]: each["reason"] for each in model.status["conditions"]}
    assert (found["MetricsAvailable"], found["ScalingActive"]) == ("Read", "Measuring")


def test_what_goes_wrong_while_pods_are_read_is_an_outage_and_not_the_end(rig: Make) -> None:
    model = rig(BOTH)
    model.tick()
    model.pods.broken = True
    model.tick()
    [found] = [each for each in model.status["conditions"] if each["type"] == "MetricsAvailable"]
    assert (found["status"], found["message"].partition(": ")[2]) == ("False", "not read: IndexError")
    assert model.seen[-1].signals is None
    model.pods.broken = False
    model.decision = because(target=2)
    model.tick()
    assert model.replicas(TARGET) == 2


def test_without_the_right_to_see_pods_the_status_says_why_nothing_is_scaled(rig: Make) -> None:
    model = rig(BOTH)
    model.start(sees_pods=False)
    model.tick()
    [told] = [each for each in model.status["conditions"] if each["type"] == "ScalingActive"]
    assert (told["status"], told["reason"]) == ("False", "NotAllowed")
    assert "let it get, list and watch them" in told["message"]
    model.writes()
    model.tick()
    assert (model.seen, model.writes()) == ([], [])


def test_what_the_server_does_not_take_is_tried_again_and_not_told(rig: Make) -> None:
    model = rig(BOTH)
    model.tick()
    model.decision = because(target=2)

    def refusing(verb: str) -> None:
        if verb == "scale":
            raise KubeError(403, "Forbidden", "PATCH …: no right to scale")

    model.cluster.kube.before = refusing
    model.tick()
    assert "scalingDecisions" not in model.status
    assert "ScaledUp" not in model.events
    assert model.registry.get_sample_value("outrider_operator_scaling_failures_total") == 1
    model.cluster.kube.before = lambda _: None
    model.tick()
    assert model.replicas(TARGET) == 2
    assert model.events.count("ScaledUp") == 1


def refusing(*verbs: str) -> Callable[[str], None]:
    def before(verb: str) -> None:
        if verb in verbs:
            raise KubeError(422, "Invalid", f"{verb} …: not taken")

    return before


def test_targets_that_cannot_be_told_are_scaled_all_the_same(rig: Make) -> None:
    """Somebody has made the ConfigMap immutable. The surge is no matter of it; that the last draft stays, is."""
    model = rig(BOTH)
    model.tick()
    model.pods.values["target"]["speculation_allowed"] = 0.0
    model.cluster.kube.before = refusing("merge")
    model.decision = because(target=3, draft=0, speculate=False)
    model.tick()
    assert (model.replicas(TARGET), model.replicas(DRAFT)) == (3, 1)
    assert [each["role"] for each in model.status["scalingDecisions"]] == ["target"]
    assert model.registry.get_sample_value("outrider_operator_scaling_failures_total") == 1


def test_a_draft_that_cannot_be_scaled_keeps_no_target(rig: Make) -> None:
    model = rig(BOTH)
    model.tick()
    left = iter(("target",))  # it is the first

    def before(verb: str) -> None:
        if verb == "scale" and next(left, None):
            raise KubeError(403, "Forbidden", "PATCH …: no right to scale")

    model.cluster.kube.before = before
    model.decision = because(target=3, draft=2)
    model.tick()
    assert (model.replicas(TARGET), model.replicas(DRAFT)) == (1, 2)


def test_what_was_scaled_is_told_even_if_it_cannot_be_looked_at_just_then(rig: Make) -> None:
    model = rig(BOTH)
    model.tick()
    model.decision = because(target=2)
    failed: list[str] = []

    def before(verb: str) -> None:
        if verb == "get" and not failed and model.replicas(TARGET) == 2:
            failed.append(verb)
            raise KubeError(503, "ServiceUnavailable", "GET …: no answer")

    model.cluster.kube.before = before
    model.tick()
    assert (model.replicas(TARGET), failed) == (2, ["get"])
    assert "ScaledUp" in model.events
    assert [each["to"] for each in model.status["scalingDecisions"]] == [2]
    assert model.registry.get_sample_value("outrider_operator_scaling_failures_total") == 0


def test_from_active_to_advisory_targets_may_speculate_again_and_then_only_advice_is_given(rig: Make) -> None:
    model = rig(BOTH)
    model.decision = because(target=1, draft=0, speculate=False)
    model.tick()
    assert model.cluster.kube.objects[CONTROL]["data"] == {"speculation": "off"}
    model.cluster.edit(lambda spec: spec["autoscaling"].update(mode="Advisory"))
    model.cluster.settle()
    model.tick()
    assert model.cluster.kube.objects[CONTROL]["data"] == {"speculation": "on"}
    assert model.events[-1] == "SpeculationStarted"
    model.tick()
    model.tick()
    assert model.cluster.kube.objects[CONTROL]["data"] == {"speculation": "on"}
    told = [(each["role"], each["to"]) for each in model.status["scalingDecisions"]]
    assert told.count(("speculation", 1)) == 1
    assert told[0] == ("speculation", 0), "what would be done is said"
    assert model.status["speculating"] is True


def test_of_a_spec_that_is_not_accepted_nothing_is_wanted(rig: Make) -> None:
    model = rig(BOTH)
    model.decision = because(target=2)
    model.tick()
    assert model.desired()["target", "ScaleUp"] == 2
    model.follow_pods()
    model.cluster.edit(lambda spec: spec["target"].update(dtype="float7"))
    model.cluster.settle()
    model.tick()
    assert model.desired() == {}


def test_a_model_at_which_the_loop_fails_does_not_say_that_all_is_well(
    rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = rig(BOTH)
    model.tick()

    def failing(*_: object) -> tuple[Decision, History]:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(follow, "decide", failing)
        model.tick()
        model.writes()
        model.tick()
        assert model.writes() == [], "it is said once"
    found = {each["type"]: each for each in model.status["conditions"]}
    assert (found["ScalingActive"]["status"], found["ScalingActive"]["reason"]) == ("False", "Failed")
    assert found["MetricsAvailable"]["reason"] == "Read"
    assert model.status["goodputGain"] == 1.5
    assert model.events[-1] == "ScalingHeld"
    model.tick()
    assert model.events[-1] == "ScalingActive"


def test_a_new_process_that_fails_at_a_model_leaves_what_the_status_says_of_it(
    rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = rig(BOTH)
    model.decision = because(target=2)
    model.tick()
    model.follow_pods()
    model.tick()
    before = copy.deepcopy(model.status)
    assert {"goodputGain", "speculating", "scalingDecisions"} <= before.keys()
    model.start()
    model.cluster.reconcile()
    model.decision = because(target=2, code="WithinGoals")

    def failing(*_: object) -> tuple[Decision, History]:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(loop, "observe", failing)
        model.tick()
    found, were = ({each["type"]: each for each in said["conditions"]} for said in (model.status, before))
    assert found.pop("ScalingActive")["reason"] == "Failed"
    assert were.pop("ScalingActive")["reason"] == "Measuring"
    assert {**model.status, "conditions": found} == {**before, "conditions": were}
    model.tick()
    assert model.status["scalingDecisions"] == before["scalingDecisions"], "what was done is not forgotten"


def test_a_role_that_another_scales_is_left_to_it_and_shown_as_such(rig: Make) -> None:
    model = rig(BOTH)
    scaler = {
        "metadata": {"namespace": "chat", "name": "by-cpu"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "qwen-coder-draft"}},
    }
    model.cluster.store.scaler_seen(scaler)
    model.decision = because(target=2, draft=2)
    model.tick()
    assert (model.replicas(TARGET), model.replicas(DRAFT)) == (2, 1)
    assert model.seen[-1].others == {"draft": "HorizontalPodAutoscaler by-cpu"}
    [found] = [each for each in model.status["conditions"] if each["type"] == "ScalingActive"]
    assert (found["status"], found["reason"]) == ("False", "ScaledByOthers")
    assert [role for role, _ in model.desired()] == ["target"]


def test_only_the_latest_reason_is_a_series_and_none_of_a_model_that_is_gone(rig: Make) -> None:
    model = rig(BOTH)
    model.decision = because(target=2)
    model.tick()
    model.decision = because(target=2, code="WithinGoals")
    model.tick()
    assert model.desired() == {("target", "WithinGoals"): 2, ("draft", "DraftLoad"): 1}
    model.cluster.store.model_gone(model.cluster.model)
    model.queue.added.clear()
    asyncio.run(model.loop.tick())
    assert model.desired() == {}


def test_a_refused_draft_is_asked_about_once(rig: Make) -> None:
    model = rig()
    model.pods.values["target"] |= {"draft_incompatible": 1.0, "draft_connected": 0.0}
    draft = {"address": "10.1.2.3:50051", "state": "Incompatible", "reason": "tokenizers differ"}
    model.pods.health = json.dumps({"speculation": {"drafts": [draft]}})
    model.tick()
    model.tick()
    [found] = [each for each in model.status["conditions"] if each["type"] == "DraftCompatible"]
    assert (found["status"], found["message"]) == ("False", "tokenizers differ")
    assert model.pods.asked == ["/health"]
    assert model.events[-1] == "DraftIncompatible"


def test_what_goes_wrong_with_one_model_does_not_keep_the_others(rig: Make) -> None:
    model = rig(BOTH)
    broken = {**model.cluster.model, "metadata": {**model.cluster.model["metadata"], "name": "a", "uid": "a"}}
    model.cluster.store.model_seen({**broken, "status": {"conditions": "none"}})
    service = {**model.cluster.kube.objects[TARGET]}
    owner = {"kind": "SpeculativeModel", "name": "a", "uid": "a", "controller": True}
    metadata = {**service["metadata"], "name": "a-target", "uid": "x", "ownerReferences": [owner]}
    model.cluster.store.child_seen({**service, "metadata": metadata, "status": {}})
    model.decision = because(target=2)
    model.tick()
    assert model.replicas(TARGET) == 2
