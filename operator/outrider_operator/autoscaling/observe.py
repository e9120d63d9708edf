"""What there is to know of one model at a tick. Pure, but for asking the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from outrider_operator.autoscaling.actuate import control_name
from outrider_operator.autoscaling.observation import Observation
from outrider_operator.autoscaling.pods import SeenPod, counted
from outrider_operator.autoscaling.signals import Speaking, refuses, signals, speaking
from outrider_operator.autoscaling.source import Read
from outrider_operator.reconcile.store import Key, Store
from outrider_operator.resources.control import OFF, SPECULATION
from outrider_operator.resources.pod import Object

ROLES = ("target", "draft")


@dataclass(frozen=True)
class Seen:
    """observation: as decide has it. ready, answering: targets of the newest revision. speaking: how they get along
    with drafts. refusing: one that has refused a draft. failure: why one does not answer; "" where all do.
    """

    observation: Observation
    ready: int
    answering: int
    speaking: Speaking
    refusing: SeenPod | None
    failure: str

    @property
    def read_once(self) -> bool:
        """Targets answer, and how much has grown is known at the next tick: there is nothing to conclude yet."""
        return self.answering > 0 and self.observation.signals is None


def observe(
    key: Key,
    children: Sequence[Object],
    pods: Sequence[SeenPod],
    current: Sequence[SeenPod],
    answers: Read,
    store: Store,
    now: datetime,
) -> Seen:
    """pods: all of the model. current: those that were to be read."""
    named = {(each["kind"], each["metadata"]["name"]): each for each in children}
    of_role = {role: named.get(("Deployment", f"{key.name}-{role}")) for role in ROLES}
    counts = {role: counted([pod for pod in pods if pod.role == role], of_role[role], now) for role in ROLES}
    by_role = {
        role: [answers.readings[pod.uid] for pod in current if pod.role == role and pod.uid in answers.readings]
        for role in ROLES
    }
    targets = [pod for pod in current if pod.role == "target"]
    observation = Observation(
        target=counts["target"],
        draft=counts["draft"],
        speculating=speculates(named.get(("ConfigMap", control_name(key)))),
        signals=signals(by_role["target"], by_role["draft"]),
        others=_others(key, store),
    )
    return Seen(
        observation=observation,
        ready=len(targets),
        answering=len(by_role["target"]),
        speaking=speaking(by_role["target"]),
        refusing=next((pod for pod in targets if (of := answers.readings.get(pod.uid)) and refuses(of[-1])), None),
        failure=min((answers.failures[pod.uid] for pod in targets if pod.uid in answers.failures), default=""),
    )


def speculates(control: Object | None) -> bool:
    """What the targets are told by the ConfigMap that they follow: they may, unless it says otherwise."""
    return ((control or {}).get("data") or {}).get(SPECULATION) != OFF


def _others(key: Key, store: Store) -> dict[str, str]:
    found = {role: store.scaled_by(key.namespace, f"{key.name}-{role}") for role in ROLES}
    return {role: f"HorizontalPodAutoscaler {name}" for role, name in found.items() if name is not None}
