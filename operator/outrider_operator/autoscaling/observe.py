"""What there is to know of one model at a tick. Pure, but for asking the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from outrider_operator.autoscaling.actuate import control_name
from outrider_operator.autoscaling.observation import Observation, Pods
from outrider_operator.autoscaling.pods import SeenPod, counted, model_of, newest
from outrider_operator.autoscaling.signals import Readings, Speaking, read_twice, refuses, signals, speaking
from outrider_operator.autoscaling.source import Read
from outrider_operator.reconcile.store import Key, Store
from outrider_operator.resources.control import OFF, SPECULATION
from outrider_operator.resources.pod import Object

ROLES = ("target", "draft")


@dataclass(frozen=True)
class Seen:
    """observation: as decide has it. ready, answering: targets, of whatever revision. speaking: how those of the newest
    revision that answers get along with drafts. refusing: one of them that has refused a draft. stopped: all targets
    say that they do not ask drafts. failure: why one does not answer; "" where all do. models: that speculation is
    judged by, of the roles of which one is. awaited: roles whose Deployment has another than that.
    """

    observation: Observation
    ready: int
    answering: int
    speaking: Speaking
    refusing: SeenPod | None
    stopped: bool
    failure: str
    models: Mapping[str, tuple[str, ...]]
    awaited: AbstractSet[str]

    @property
    def read_once(self) -> bool:
        """Targets answer, and how much has grown is known at the next tick: there is nothing to conclude yet."""
        return self.answering > 0 and self.observation.signals is None


def observe(
    key: Key,
    children: Sequence[Object],
    pods: Sequence[SeenPod],
    answers: Read,
    store: Store,
    now: datetime,
) -> Seen:
    """What all ready pods say is what clients ask and meet; a revision of which none is ready yet, or ever, tells
    nothing, and those before it serve.
    """
    named = {(each["kind"], each["metadata"]["name"]): each for each in children}
    of_role = {role: named.get(("Deployment", f"{key.name}-{role}")) for role in ROLES}
    counts = {role: counted([pod for pod in pods if pod.role == role], of_role[role], now) for role in ROLES}
    targets = [pod for pod in pods if pod.role == "target" and pod.readable]
    drafts = [pod for pod in pods if pod.role == "draft" and pod.readable]
    told, told_drafts = _answering(targets, answers), _answering(drafts, answers)
    # Rates take a second reading, for which who has just got ready is not waited for.
    measured = [pod for pod in told if read_twice(answers.readings[pod.uid])]
    current = newest(told)
    # Rates and gains are of the newest targets, with whichever drafts they ask.
    judged = {"target": newest(measured), "draft": drafts}
    asked = {
        role: model_of(each["spec"]["template"]["spec"], role) for role, each in of_role.items() if each is not None
    }
    models = {role: model for role in asked if (model := _model(judged[role], counts[role], asked[role])) is not None}
    observation = Observation(
        target=counts["target"],
        draft=counts["draft"],
        speculating=speculates(named.get(("ConfigMap", control_name(key)))),
        signals=signals(
            _of(told, answers),
            _of(told_drafts, answers),
            _of(newest(measured), answers),
            _of(newest(told_drafts), answers),
        ),
        others=_others(key, store),
        outgoing=any(
            counts[role].starting > 0 and any(pod.model != asked[role] for pod in judged[role]) for role in asked
        ),
    )
    return Seen(
        observation=observation,
        ready=len(targets),
        answering=len(told),
        speaking=speaking(_of(current, answers)),
        refusing=next((pod for pod in current if refuses(answers.readings[pod.uid][-1])), None),
        stopped=bool(told) and speaking(_of(told, answers)).allowed == 0,
        failure=min((answers.failures[pod.uid] for pod in targets if pod.uid in answers.failures), default=""),
        models=models,
        awaited={role for role, model in models.items() if model != asked[role]},
    )


def _model(judged: Sequence[SeenPod], counts: Pods, asked: tuple[str, ...]) -> tuple[str, ...] | None:
    """What the newest run; of a role that is scaled to none, what it would, which nobody waits for before it is tried.
    None where pods are wanted and none is judged yet.
    """
    if judged:
        return newest(judged)[0].model
    return asked if counts.wanted == 0 else None


def _answering(pods: Iterable[SeenPod], answers: Read) -> list[SeenPod]:
    return [pod for pod in pods if answers.readings.get(pod.uid)]


def _of(pods: Iterable[SeenPod], answers: Read) -> list[Readings]:
    return [answers.readings[pod.uid] for pod in pods]


def speculates(control: Object | None) -> bool:
    """What the targets are told by the ConfigMap that they follow: they may, unless it says otherwise."""
    return ((control or {}).get("data") or {}).get(SPECULATION) != OFF


def _others(key: Key, store: Store) -> dict[str, str]:
    found = {role: store.scaled_by(key.namespace, f"{key.name}-{role}") for role in ROLES}
    return {role: f"HorizontalPodAutoscaler {name}" for role, name in found.items() if name is not None}
