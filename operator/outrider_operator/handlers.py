"""What kopf calls: every change leads to the same function, by way of the queue. Nothing is decided here.

Only low-level handlers: kopf's others would write annotations and finalizers into each model, two writes that say
nothing which the status does not.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import kopf

from outrider_operator.kube.kinds import CHILDREN, HORIZONTAL_POD_AUTOSCALER, POD, SPECULATIVE_MODEL, Kind
from outrider_operator.reconcile.queue import WorkQueue
from outrider_operator.reconcile.store import Key, Store, key_of, spec_of
from outrider_operator.resources.pod import Object

# Secrets are read by name where they are needed: a watch would have every Secret of the cluster sent here.
WATCHED = tuple(kind for kind in CHILDREN if kind.name != "Secret")
MANAGED = "app.kubernetes.io/managed-by=outrider-operator"
# Which are not the operator's, and have no such label.
OTHERS = (SPECULATIVE_MODEL, HORIZONTAL_POD_AUTOSCALER)
# What scaling looks at: the models' pods, and who else scales their Deployments.
LOOKED_AT = (POD, HORIZONTAL_POD_AUTOSCALER)


class Watcher:
    """Takes in what the watches say, and has those models looked at that it concerns."""

    def __init__(self, store: Store, queue: WorkQueue[Key]) -> None:
        self._store = store
        self._queue = queue

    def model(self, event: str | None, model: Object) -> None:
        if event == "DELETED":
            self._store.model_gone(model)
            self._queue.forget(key_of(model))
            return
        key = key_of(model)
        before = self._store.model(key)
        self._store.model_seen(model)
        if before is not None and spec_of(before) == spec_of(model):
            # Mostly our own write of the status. One that says of a failure what it says each time in other words
            # would else be the cause of the next failure.
            self._queue.add_patiently(key)
        else:
            self._queue.add(key)

    def child(self, event: str | None, item: Object) -> None:
        (self._store.child_gone if event == "DELETED" else self._store.child_seen)(item)
        key = self._store.key_of_owner(item)
        if key is not None:
            self._queue.add(key)

    def pod(self, event: str | None, pod: Object) -> None:
        """No model is looked at for it: the autoscaler's loop comes by, and the Deployment tells."""
        (self._store.pod_gone if event == "DELETED" else self._store.pod_seen)(pod)

    def scaler(self, event: str | None, scaler: Object) -> None:
        (self._store.scaler_gone if event == "DELETED" else self._store.scaler_seen)(scaler)
        scaled = scaler["spec"]["scaleTargetRef"]
        name, _, role = scaled["name"].rpartition("-")
        key = Key(scaler["metadata"]["namespace"], name)
        if scaled["kind"] == "Deployment" and role in ("target", "draft") and self._store.model(key) is not None:
            self._queue.add(key)


def register(registry: kopf.OperatorRegistry, watcher: Watcher) -> None:
    """Has kopf call the watcher. On the event loop: plain functions it would call in threads."""

    async def model(*, type: str, body: kopf.Body, **_: Any) -> None:
        watcher.model(type, dict(body))

    async def child(*, type: str, body: kopf.Body, param: Any = None, **_: Any) -> None:
        # The items of a list do not say what they are.
        watcher.child(type, {**dict(body), "apiVersion": param.api_version, "kind": param.name})

    kopf.on.event(SPECULATIVE_MODEL.api_version, SPECULATIVE_MODEL.plural, registry=registry)(model)
    for kind in WATCHED:
        kopf.on.event(kind.api_version, kind.plural, id=kind.plural, param=kind, registry=registry)(child)


def register_looked_at(registry: kopf.OperatorRegistry, watcher: Watcher, kinds: Collection[Kind]) -> None:
    """Has kopf call the watcher for those of LOOKED_AT that the operator may watch."""

    async def pod(*, type: str, body: kopf.Body, **_: Any) -> None:
        watcher.pod(type, dict(body))

    async def scaler(*, type: str, body: kopf.Body, **_: Any) -> None:
        watcher.scaler(type, dict(body))

    for kind, handler in zip(LOOKED_AT, (pod, scaler), strict=True):
        if kind in kinds:
            kopf.on.event(kind.api_version, kind.plural, id=kind.plural, registry=registry)(handler)


class NoDiffBase(kopf.DiffBaseStorage):
    """kopf copies each object three times to find what has changed, for handlers that there are none of here: a sixth
    of the operator's time while many models come.
    """

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:  # noqa: ARG002
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is written into objects."""


def settings(clusterwide: bool) -> kopf.OperatorSettings:
    """kopf as this operator needs it: no Events and no peering of its own, and only our objects sent over. In chosen
    namespaces it follows neither namespaces nor CRDs, which only a ClusterRole may read.
    """
    made = kopf.OperatorSettings()
    made.scanning.disabled = not clusterwide
    made.posting.enabled = False
    made.peering.standalone = True
    made.networking.request_timeout = 30
    made.persistence.diffbase_storage = NoDiffBase()
    for kind in (*WATCHED, POD):
        made.watching.label_selectors[kind.api_version, kind.plural] = MANAGED
    return made
