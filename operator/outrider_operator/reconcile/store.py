"""What the operator has been told of: models, the objects that they own, and their pods."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from outrider_operator.autoscaling.pods import INSTANCE, SeenPod, seen_pod
from outrider_operator.kube.kinds import HORIZONTAL_POD_AUTOSCALER, POD, SPECULATIVE_MODEL, Kind
from outrider_operator.reconcile.difference import Differs
from outrider_operator.reconcile.measured import Measured
from outrider_operator.reconcile.replicas import owners_of_replicas
from outrider_operator.resources.pod import Object


class Key(NamedTuple):
    """A model's place. Its uid is not in it: whoever takes the name over is reconciled under the same key."""

    namespace: str
    name: str


class Known(NamedTuple):
    """An object that was seen. Its uid tells it from another that has its name by now."""

    namespace: str
    name: str
    uid: str


def key_of(item: Object) -> Key:
    return Key(item["metadata"]["namespace"], item["metadata"]["name"])


def spec_of(model: Object) -> tuple[str, int]:
    """What tells a model's spec from any before it. A status that is written changes neither."""
    return model["metadata"]["uid"], model["metadata"]["generation"]


def owner_uid(item: Object) -> str | None:
    """The uid of the model that an object belongs to."""
    for owner in item["metadata"].get("ownerReferences", ()):
        if owner.get("controller") and owner["kind"] == "SpeculativeModel":
            return str(owner["uid"])
    return None


class Store:
    """The latest state of each object, from watches and from the answers to our own writes, whichever is newer.

    Resource versions grow, as Kubernetes promises for its own storage since 1.35 and as etcd has always had it.
    """

    def __init__(self) -> None:
        self._models: dict[Key, Object] = {}
        self._owned: dict[str, dict[tuple[str, str], Object]] = defaultdict(dict)
        self._lost: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self._kept: dict[str, dict[tuple[str, str], Sequence[Differs]]] = defaultdict(dict)
        # HorizontalPodAutoscalers, and by Deployment the names of those that scale it.
        self._scalers: dict[Key, Key] = {}
        self._scaled: dict[Key, set[str]] = defaultdict(set)
        self._pods: dict[Key, dict[str, SeenPod]] = defaultdict(dict)
        self._measured: dict[str, Measured] = {}

    def model(self, key: Key) -> Object | None:
        return self._models.get(key)

    @property
    def models(self) -> list[Key]:
        return list(self._models)

    def owned(self, uid: str) -> list[Object]:
        """The objects of the model with this uid."""
        return list(self._owned.get(uid, {}).values())

    def lost(self, uid: str) -> frozenset[tuple[str, str]]:
        """Kind and name of the model's objects that somebody else has deleted, and that are not there again."""
        return frozenset(self._lost.get(uid, ()))

    def forget_lost(self, uid: str, names: Iterable[tuple[str, str]]) -> None:
        """Nobody wants these again."""
        self._lost[uid].difference_update(names)

    def kept(self, uid: str) -> Mapping[tuple[str, str], Sequence[Differs]]:
        """By kind and name, what the server has made otherwise of what was applied for the model with this uid."""
        return self._kept.get(uid, {})

    def keep(self, uid: str, name: tuple[str, str], differs: Sequence[Differs]) -> None:
        """What differs in the answer to an apply; mostly nothing."""
        if differs:
            self._kept[uid][name] = differs
        else:
            self._kept[uid].pop(name, None)

    def disowned(self, uid: str) -> bool:
        """Whether somebody has taken its owner off one of the model's objects."""
        return any(owner_uid(item) is None for item in self._owned.get(uid, {}).values())

    def key_of_owner(self, item: Object) -> Key | None:
        """Which model has to be looked at when this object has changed."""
        uid = owner_uid(item)
        if uid is None:
            held_by = self._holder(item)
            return next((key for key, model in self._models.items() if model["metadata"]["uid"] == held_by), None)
        name = next(owner["name"] for owner in item["metadata"]["ownerReferences"] if owner["uid"] == uid)
        return Key(item["metadata"]["namespace"], name)

    def model_seen(self, model: Object) -> None:
        key = key_of(model)
        before = self._models.get(key)
        if before is None or before["metadata"]["uid"] != model["metadata"]["uid"] or _newer(model, before):
            self._models[key] = _lean(model)

    def model_gone(self, model: Object) -> None:
        key = key_of(model)
        self._owned.pop(model["metadata"]["uid"], None)
        self._lost.pop(model["metadata"]["uid"], None)
        self._kept.pop(model["metadata"]["uid"], None)
        self._measured.pop(model["metadata"]["uid"], None)
        held = self._models.get(key)
        if held is not None and held["metadata"]["uid"] == model["metadata"]["uid"]:
            del self._models[key]

    def child_seen(self, item: Object) -> None:
        uid = owner_uid(item) or self._holder(item)
        if uid is None:
            return
        held = self._owned[uid]
        name = (item["kind"], item["metadata"]["name"])
        if name not in held or held[name]["metadata"]["uid"] != item["metadata"]["uid"] or _newer(item, held[name]):
            held[name] = _lean(item)
            self._lost[uid].discard(name)

    def child_gone(self, item: Object, by_us: bool = False) -> None:
        uid = owner_uid(item) or self._holder(item) or ""
        held = self._owned.get(uid, {})
        name = (item["kind"], item["metadata"]["name"])
        if name in held and held[name]["metadata"]["uid"] == item["metadata"]["uid"]:
            del held[name]
            if not by_us:
                self._lost[uid].add(name)

    def _holder(self, item: Object) -> str | None:
        """The uid of the model that this very object belonged to before somebody took its owner off."""
        name = (item["kind"], item["metadata"]["name"])
        for uid, held in self._owned.items():
            if name in held and held[name]["metadata"]["uid"] == item["metadata"]["uid"]:
                return uid
        return None

    def scaler_seen(self, scaler: Object) -> None:
        """A HorizontalPodAutoscaler, of whatever it scales."""
        self.scaler_gone(scaler)
        scaled = scaler["spec"]["scaleTargetRef"]
        if scaled["kind"] == "Deployment":
            key = key_of(scaler)
            self._scalers[key] = Key(key.namespace, scaled["name"])
            self._scaled[self._scalers[key]].add(key.name)

    def scaler_gone(self, scaler: Object) -> None:
        key = key_of(scaler)
        deployment = self._scalers.pop(key, None)
        if deployment is not None:
            self._scaled[deployment].discard(key.name)
            if not self._scaled[deployment]:
                del self._scaled[deployment]

    def scaled_by(self, namespace: str, deployment: str) -> str | None:
        """The HorizontalPodAutoscaler that sets a Deployment's replicas, by name; of several the first."""
        return min(self._scaled.get(Key(namespace, deployment), ()), default=None)

    def pods(self, key: Key) -> list[SeenPod]:
        """The pods of the model, those that end not among them."""
        return list(self._pods.get(key, {}).values())

    def pod_seen(self, item: Object) -> None:
        key, pod = _model_of(item), seen_pod(item)
        if pod is None:
            self.pod_gone(item)
        else:
            self._pods[key][pod.uid] = pod

    def pod_gone(self, item: Object) -> None:
        key = _model_of(item)
        held = self._pods.get(key, {})
        held.pop(item["metadata"]["uid"], None)
        if not held:
            self._pods.pop(key, None)

    def known(self, kind: Kind) -> set[Known]:
        """Those of a kind that are known: models, their objects, their pods, who scales them."""
        if kind == SPECULATIVE_MODEL:
            return {_known(model) for model in self._models.values()}
        if kind == HORIZONTAL_POD_AUTOSCALER:
            # By name alone: one that is forgotten tells of itself every 15 s, and the server is asked before replicas
            # change.
            return {Known(*key, uid="") for key in self._scalers}
        if kind != POD:
            return {_known(item) for item in self._of_kind(kind)}
        return {_known_pod(pod) for of_model in self._pods.values() for pod in of_model.values()}

    def drop(self, kind: Kind, gone: Collection[Known]) -> None:
        """Those are gone, and no watch has told. Another of the same name, made since, stays."""
        if kind == SPECULATIVE_MODEL:
            for model in [held for held in self._models.values() if _known(held) in gone]:
                self.model_gone(model)
            return
        if kind == HORIZONTAL_POD_AUTOSCALER:
            for each in gone:
                self.scaler_gone({"metadata": {"namespace": each.namespace, "name": each.name}})
            return
        if kind != POD:
            for item in self._of_kind(kind):
                if _known(item) in gone:
                    self.child_gone(item)
            return
        for key, of_model in list(self._pods.items()):
            self._pods[key] = {uid: pod for uid, pod in of_model.items() if _known_pod(pod) not in gone}

    def _of_kind(self, kind: Kind) -> list[Object]:
        """The models' objects of a kind."""
        return [item for held in self._owned.values() for item in held.values() if item["kind"] == kind.name]

    def measured(self, uid: str) -> Measured | None:
        """What was measured of the model with this uid; None until somebody has looked."""
        return self._measured.get(uid)

    def measure(self, uid: str, measured: Measured) -> None:
        self._measured[uid] = measured


def _known(item: Object) -> Known:
    return Known(*key_of(item), item["metadata"]["uid"])


def _known_pod(pod: SeenPod) -> Known:
    return Known(pod.namespace, pod.name, pod.uid)


def _newer(item: Object, other: Object) -> bool:
    return int(item["metadata"]["resourceVersion"]) >= int(other["metadata"]["resourceVersion"])


def _lean(item: Object) -> Object:
    """Without what only the server reads, which is half of an object: 500 models are to fit into 250 MB. Who owns the
    replicas of a Deployment is kept.
    """
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    if item.get("kind") == "Deployment":
        metadata["managedFields"] = owners_of_replicas(item)
    return {**item, "metadata": metadata}


def _model_of(pod: Object) -> Key:
    """By its labels: pods are owned by what a Deployment owns."""
    labels = pod["metadata"].get("labels") or {}
    return Key(pod["metadata"]["namespace"], labels.get(INSTANCE, ""))
