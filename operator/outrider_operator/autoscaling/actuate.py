"""Carries out what was decided: replicas by the Deployment's scale, drafting by the ConfigMap that targets follow."""

from __future__ import annotations

from outrider_operator.kube.client import Kube
from outrider_operator.kube.errors import KubeError
from outrider_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT
from outrider_operator.reconcile.store import Key, Store
from outrider_operator.resources.control import OFF, ON, SPECULATION

# Apart from the one that applies: so the server knows whose replicas are.
FIELD_MANAGER = "outrider-autoscaler"


def control_name(key: Key) -> str:
    """The ConfigMap that the model's targets follow while they run."""
    return f"{key.name}-control"


class Actuator:
    """Writes, and takes what it has written into the store: the next look must not find what was before."""

    def __init__(self, kube: Kube, store: Store) -> None:
        self._kube = kube
        self._store = store

    async def tell(self, key: Key, speculate: bool) -> None:
        """Has the targets told whether they may speculate. Raises KubeError."""
        data = {"data": {SPECULATION: ON if speculate else OFF}}
        written = await self._kube.merge(CONFIG_MAP, key.namespace, control_name(key), data, FIELD_MANAGER)
        self._store.child_seen(written)

    async def scale(self, key: Key, role: str, replicas: int) -> None:
        """Raises KubeError where the server does not take it."""
        name = f"{key.name}-{role}"
        await self._kube.set_scale(DEPLOYMENT, key.namespace, name, replicas, FIELD_MANAGER)
        try:
            scaled = await self._kube.get(DEPLOYMENT, key.namespace, name)
        except KubeError:
            return  # it is scaled, and the watch will tell
        if scaled is not None:
            self._store.child_seen(scaled)
