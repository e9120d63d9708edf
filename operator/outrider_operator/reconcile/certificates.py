"""Brings the Secrets of mutual TLS about: reads them by name, writes what differs, and keeps nothing of them.

They are not watched: rights to watch would be rights to read every Secret of the cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from outrider_operator.api.v1alpha1 import ObjectMeta, SpeculativeModel
from outrider_operator.certificates.plan import ROLES, authorities, authority, identities
from outrider_operator.certificates.rotation import Authorities, BadAuthority
from outrider_operator.kube.client import Kube
from outrider_operator.kube.errors import KubeError
from outrider_operator.kube.kinds import SECRET
from outrider_operator.reconcile.difference import difference
from outrider_operator.reconcile.owner import foreign, owned_by
from outrider_operator.resources.certificates import AUTHORITY, OURS, identity_name
from outrider_operator.resources.names import namespace
from outrider_operator.resources.placement import draft_in_use
from outrider_operator.resources.pod import Object

# What is found right is not read again for so long, however often the model is looked at. Shorter than the time after
# which every model is looked at, so that a certificate is renewed, and one that is gone put back, within that.
GOOD_FOR = timedelta(minutes=5)


@dataclass(frozen=True)
class Settled:
    """What was found right: for a model with a draft in use or without, and when."""

    drafts: bool
    at: datetime

    def holds(self, now: datetime) -> bool:
        """Whether it is still taken for granted. A clock that was ahead, and is set right, has found nothing yet."""
        return self.at <= now < self.at + GOOD_FOR


class Certificates:
    """Of all models."""

    def __init__(self, kube: Kube, now: Callable[[], datetime]) -> None:
        self._kube = kube
        self._now = now
        self._settled: dict[str, Settled] = {}

    async def bring(self, model: Object, typed: SpeculativeModel) -> list[str]:
        """Writes what differs; gives what keeps it from that, if anything. Raises KubeError."""
        uid, now, drafts = model["metadata"]["uid"], self._now(), draft_in_use(typed) is not None
        settled = self._settled.get(uid)
        if settled is not None and settled.drafts == drafts and settled.holds(now):
            return []
        there = await self._there(typed)
        problems = await (self._write(model, typed, there, now) if drafts else self._prune(model, there))
        if not problems:
            self._settle(uid, Settled(drafts, now))
        return problems

    async def renew(self, model: Object) -> list[str]:
        """For a model whose spec does not come about: what ran before runs on, and so must its certificates. Makes none
        where there are none. Gives what keeps it from that, if anything. Raises KubeError.
        """
        uid, now, typed = model["metadata"]["uid"], self._now(), _named(model)
        settled = self._settled.get(uid)
        if settled is not None and settled.holds(now):
            return []
        there = await self._there(typed)
        if any(foreign(model, secret) for secret in there.values()):
            return []
        problems = await self._write(model, typed, there, now) if there else []
        if not problems:
            self._settle(uid, Settled(bool(there), now))
        return problems

    def _settle(self, uid: str, settled: Settled) -> None:
        self._settled = {key: each for key, each in self._settled.items() if each.holds(settled.at)}
        self._settled[uid] = settled

    async def _there(self, typed: SpeculativeModel) -> dict[str, Object]:
        found = {role: await self._kube.get(SECRET, namespace(typed), identity_name(typed, role)) for role in ROLES}
        return {role: secret for role, secret in found.items() if secret is not None}

    async def _prune(self, model: Object, there: dict[str, Object]) -> list[str]:
        for secret in there.values():
            if not foreign(model, secret):
                await self._kube.delete(secret)
        return []

    async def _write(
        self, model: Object, typed: SpeculativeModel, there: dict[str, Object], now: datetime
    ) -> list[str]:
        problems = [problem for secret in there.values() if (problem := foreign(model, secret))]
        if problems:
            return problems
        try:
            held = await self._authorities(namespace(typed), now)
        except BadAuthority as error:
            return [f"Secret {AUTHORITY}: {error}; delete it, and a new one is made"]
        wanted = [owned_by(model, secret) for secret in identities(typed, held, there, now)]
        for secret in difference(wanted, there.values()).apply:
            await self._kube.apply(secret)
        return []

    async def _authorities(self, namespace_: str, now: datetime) -> Authorities:
        """Those of the namespace. Of two that make them at once one wins, and the other takes what it made."""
        try:
            return await self._try_authorities(namespace_, now)
        except KubeError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            return await self._try_authorities(namespace_, now)

    async def _try_authorities(self, namespace_: str, now: datetime) -> Authorities:
        there = await self._kube.get(SECRET, namespace_, AUTHORITY)
        if there is not None and not OURS.items() <= (there["metadata"].get("labels") or {}).items():
            raise BadAuthority("it is another's")
        held = authorities(namespace_, there, now)
        wanted = authority(namespace_, held, there)
        if wanted is not None:
            await (self._kube.create(wanted) if there is None else self._kube.apply(wanted))
        return held


def _named(model: Object) -> SpeculativeModel:
    """The model without its spec, of which the Secrets say nothing."""
    known: dict[str, Any] = {"metadata": ObjectMeta.model_validate(model["metadata"])}
    return SpeculativeModel.model_construct(**known)
