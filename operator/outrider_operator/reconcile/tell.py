"""Writes Events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

import structlog

from outrider_operator.kube.client import Kube
from outrider_operator.kube.errors import KubeError
from outrider_operator.reconcile.events import Said, event
from outrider_operator.resources.pod import Object

log = structlog.get_logger()


class Teller:
    """Tells people of a model."""

    def __init__(self, kube: Kube, now: Callable[[], datetime]) -> None:
        self._kube = kube
        self._now = now

    async def tell(self, model: Object, all_said: Iterable[Said]) -> None:
        """An Event that cannot be written is not worth trying again: what it says is in the status as well."""
        for said in all_said:
            try:
                await self._kube.create(event(model, said, self._now()))
            except KubeError as error:
                log.warning("event not written", reason=said.reason, model=model["metadata"]["name"], error=str(error))
