"""One function for every cause: reads what is there, builds what should be, writes the difference, says how it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.api.validation import check_object
from outrider_operator.kube.client import Kube
from outrider_operator.kube.errors import KubeError
from outrider_operator.kube.kinds import HORIZONTAL_POD_AUTOSCALER, SECRET, SPECULATIVE_MODEL, kind_of
from outrider_operator.reconcile.certificates import Certificates
from outrider_operator.reconcile.claim import grown
from outrider_operator.reconcile.conditions import FAILED, PAUSED, READY, REFUSED, Finding
from outrider_operator.reconcile.difference import Differs, changes, covers, difference, differs, identity
from outrider_operator.reconcile.events import repairs, transitions
from outrider_operator.reconcile.measured import Measured, carried
from outrider_operator.reconcile.owner import foreign, owned_by
from outrider_operator.reconcile.queue import Again
from outrider_operator.reconcile.replicas import replicas, with_replicas, without_replicas
from outrider_operator.reconcile.status import accepted, enough_pods, findings, patch, status
from outrider_operator.reconcile.store import Key, Store, key_of
from outrider_operator.reconcile.tell import Teller
from outrider_operator.resources.build import build
from outrider_operator.resources.named_secrets import secrets_named
from outrider_operator.resources.names import namespace
from outrider_operator.resources.placement import draft_in_use
from outrider_operator.resources.platform import Platform
from outrider_operator.resources.pod import Object
from outrider_operator.resources.route import unserved_route
from outrider_operator.resources.scaling import scaled_roles
from outrider_operator.resources.target import target_deployment

log = structlog.get_logger()

# After its objects were written a model's Deployments change several times within a moment: it is looked at again when
# they have, so that its first status is written once.
SETTLE_S = 1.0
# Secrets are not watched, nor are others' objects: one that is missing, or in the way, is looked for again.
MISSING_S = 15.0
# A call that failed so often in a row, over some 40 s, is told as if it were refused: it may fail for ever.
TOLD_AFTER = 8


@dataclass(frozen=True)
class Reading:
    """What one generation of a model says."""

    uid: str
    generation: int
    typed: SpeculativeModel | None
    problems: list[str]


class Reconciler:
    """Brings one model after another to what its spec says.

    platform: may be replaced, when the cluster has come to serve more; all models then want to be looked at again.
    """

    def __init__(self, kube: Kube, store: Store, platform: Platform, now: Callable[[], datetime]) -> None:
        self._kube = kube
        self._store = store
        self.platform = platform
        self._now = now
        self._certificates = Certificates(kube, now)
        self._teller = Teller(kube, now)
        self._readings: dict[Key, Reading] = {}

    async def reconcile(self, key: Key, failures: int = 0) -> Again | None:
        """Whether and when to look again. A second run after a first that went through writes nothing. failures: how
        often in a row it has failed before this.
        """
        model = self._store.model(key)
        if model is None or "deletionTimestamp" in model["metadata"]:
            self._readings.pop(key, None)
            return None
        try:
            return await self._reconcile(model)
        except KubeError as error:
            if error.namespace_ends:
                return None  # what is here goes with it, and the server takes nothing new
            log.warning("reconcile failed", namespace=key.namespace, model=key.name, error=str(error))
            if not error.passing or failures >= TOLD_AFTER:
                await self._say_not_brought(model, accepted([]), REFUSED, str(error))
            return Again(error.retry_after_s or 0.0, failed=True)

    async def _reconcile(self, model: Object) -> Again | None:
        uid = model["metadata"]["uid"]
        if (self._store.lost(uid) or self._store.disowned(uid)) and await self._gone(model):
            return None
        typed, problems = self._read(model)
        if typed is not None and typed.spec.paused:
            if is_of_spec(self._store.owned(model["metadata"]["uid"]), typed, self.platform):
                await self._say(model, typed, accepted([], paused=True))
            else:
                message = "spec.paused: what answers is not the spec as it stands; set it to false"
                await self._say_not_brought(model, accepted([], paused=True), PAUSED, message)
            return None
        lacking: list[str] = []
        if typed is None:
            problems = [*problems, *await self._renewed(model)]
        else:
            lacking = await self._lacking(typed)
            wanted = [owned_by(model, item) for item in build(typed, self.platform)]
            taken = await self._taken(model, wanted)
            problems = [*taken, *await self._renewed(model)] if taken else await self._certificates.bring(model, typed)
            if not problems:
                new = await self._bring(model, typed, wanted)
                if new and not model.get("status"):
                    return Again(SETTLE_S)
        await self._say(model, typed, accepted(problems, lacking=lacking))
        conflicts = typed is not None and problems
        return Again(MISSING_S) if lacking or conflicts else None

    async def _renewed(self, model: Object) -> list[str]:
        """What keeps the certificates of what runs on from being renewed. A call that fails is no word on the spec, and
        there is a third of their life left to make it again.
        """
        try:
            return await self._certificates.renew(model)
        except KubeError as error:
            log.warning("certificates not looked at", model=model["metadata"]["name"], error=str(error))
            return []

    async def _gone(self, model: Object) -> bool:
        """Whether the model has gone or goes and no watch has told, as far as the server is asked. Then it is no longer
        looked at: the garbage collector would take what it owns, or the owner off that (--cascade=orphan), for ever,
        and reconcile put it back.
        """
        there = await self._kube.get(SPECULATIVE_MODEL, *key_of(model))
        if there is None or there["metadata"]["uid"] != model["metadata"]["uid"]:
            self._store.model_gone(model)
            return True
        self._store.model_seen(there)
        return "deletionTimestamp" in there["metadata"]

    def _read(self, model: Object) -> tuple[SpeculativeModel | None, list[str]]:
        """Once for each generation: while its pods come a model is looked at many times."""
        key, uid, generation = key_of(model), model["metadata"]["uid"], model["metadata"]["generation"]
        known = self._readings.get(key)
        if known is None or (known.uid, known.generation) != (uid, generation):
            known = self._readings[key] = Reading(uid, generation, *read(model))
        return known.typed, known.problems

    async def _lacking(self, typed: SpeculativeModel) -> list[str]:
        """What the spec names and the cluster has not got. The pods wait for a Secret by themselves, and say so nowhere
        that the model's owner looks.
        """
        unserved = unserved_route(typed, self.platform)
        lacking = [] if unserved is None else [unserved]
        for field, name in secrets_named(typed).items():
            if not await self._kube.exists(SECRET, namespace(typed), name):
                lacking.append(f"{field}: there is no Secret {name}; create it")
        return lacking

    async def _taken(self, model: Object, wanted: Sequence[Object]) -> list[str]:
        """Names that other objects have. Those of the model that the watches have not shown yet are taken in."""
        known = {identity(item) for item in self._store.owned(model["metadata"]["uid"])}
        problems = []
        for item in wanted:
            if identity(item) in known:
                continue
            metadata = item["metadata"]
            there = await self._kube.get(kind_of(item), metadata["namespace"], metadata["name"])
            if there is None:
                continue
            self._store.child_seen(there)
            problem = foreign(model, there)
            if problem:
                problems.append(problem)
        return problems

    async def _scaled(
        self, typed: SpeculativeModel, wanted: Sequence[Object], live: Mapping[tuple[str, str], Object]
    ) -> list[Object]:
        """The Deployments whose replicas others set: the autoscaler, or a HorizontalPodAutoscaler."""
        ours = scaled_roles(typed)
        deployments = [item for item in wanted if item["kind"] == "Deployment"]
        return [
            item
            for item in deployments
            if item["metadata"]["labels"]["app.kubernetes.io/component"] in ours
            or await self._scaled_by_another(item, live.get(identity(item)))
        ]

    async def _scaled_by_another(self, wanted: Object, there: Object | None) -> bool:
        """Whether a HorizontalPodAutoscaler sets the replicas. Before they are changed the server is asked: the watch
        may not have told yet, as after a restart, and a fleet would shrink to what the spec says.
        """
        place = wanted["metadata"]["namespace"], wanted["metadata"]["name"]
        changes = there is not None and replicas(there) != replicas(wanted)
        if changes and self._store.scaled_by(*place) is None:
            for scaler in await self._scalers(place[0]):
                self._store.scaler_seen(scaler)
        return self._store.scaled_by(*place) is not None

    async def _scalers(self, namespace_: str) -> list[Object]:
        """Those of the namespace; none where the operator may not see them, as under rights of an earlier version."""
        try:
            return await self._kube.list_all(HORIZONTAL_POD_AUTOSCALER, namespace_)
        except KubeError as error:
            if error.passing:
                raise
            return []

    async def _bring(self, model: Object, typed: SpeculativeModel, wanted: Sequence[Object]) -> bool:
        """Writes what differs, and whether that made objects which had not been there before. Replicas that others set
        do not differ, nor does a claim that they have grown.
        """
        uid = model["metadata"]["uid"]
        there = self._store.owned(uid)
        live = {identity(item): item for item in there}
        scaled = {identity(item): replicas(item) for item in await self._scaled(typed, wanted, live)}
        sized = [grown(item, live.get(identity(item))) for item in wanted]
        compared = [without_replicas(item) if identity(item) in scaled else item for item in sized]
        todo = difference(compared, there, self._store.kept(uid))
        lost = self._store.lost(uid)
        self._store.forget_lost(uid, lost - {identity(item) for item in wanted})
        changed = []
        for item in todo.apply:
            place = identity(item)
            full = with_replicas(item, scaled[place], live.get(place)) if place in scaled else item
            kept = await self._apply(uid, item, full)
            if changes(live.get(place), item, kept):
                changed.append(item)
        for item in todo.prune:
            await self._kube.delete(item)
            self._store.child_gone(item, by_us=True)
        await self._teller.tell(model, repairs(changed, there, lost))
        return any(identity(item) not in live and identity(item) not in lost for item in todo.apply)

    async def _apply(self, uid: str, item: Object, full: Object) -> Sequence[Differs]:
        """Gives what differs still in the answer: what an admission webhook makes of each apply. full: the item with
        what is not compared.
        """
        answer = await self._kube.apply(full)
        self._store.child_seen(answer)
        kept = tuple(differs(answer, item))
        self._store.keep(uid, identity(item), kept)
        if kept:
            fields = sorted({".".join(map(str, each.path)) for each in kept})
            kind, name = identity(item)
            log.warning(
                "the server has it otherwise",
                namespace=item["metadata"]["namespace"],
                kind=kind,
                name=name,
                fields=fields,
            )
        return kept

    async def _say(self, model: Object, typed: SpeculativeModel | None, accepted_: Finding) -> None:
        found, measured = self._found(model, typed, accepted_)
        await self._write_status(model, typed, found, measured)

    def _found(
        self, model: Object, typed: SpeculativeModel | None, accepted_: Finding
    ) -> tuple[list[Finding], Measured]:
        """What is to be said of the objects that are there, and of what was measured."""
        children, measured = self._store.owned(model["metadata"]["uid"]), self._measured(model)
        drafts = draft_in_use(typed) is not None if typed is not None else _runs_draft(children)
        if typed is not None:
            measured = measured.of(drafts=drafts, scaled=typed.spec.autoscaling is not None)
        return findings(model, accepted_, children, drafts, enough_pods(typed), measured.findings), measured

    def _measured(self, model: Object) -> Measured:
        """As the status has it where nobody has looked since the operator was started."""
        measured = self._store.measured(model["metadata"]["uid"])
        return carried(model.get("status") or {}) if measured is None else measured

    async def say_failed(self, key: Key, where: str) -> None:
        """The operator itself has failed at a model. where: type and place of what was raised."""
        model = self._store.model(key)
        if model is not None:
            message = f"the operator failed at this spec ({where}); change the spec, and report it. What ran runs on"
            await self._say_not_brought(model, accepted([]), FAILED, message)

    async def _say_not_brought(self, model: Object, accepted_: Finding, reason: str, message: str) -> None:
        """The spec has not come about: the server will not have an object (a quota, an admission policy, missing
        rights), the operator fails at it, or may not write. People must see it.
        """
        reading = self._readings.get(key_of(model))
        found, measured = self._found(model, None if reading is None else reading.typed, accepted_)
        told = [*(each for each in found if each.type != READY), Finding(READY, "False", reason, message)]
        try:
            await self._write_status(model, None, told, measured)
        except KubeError as another:
            log.warning("status not written", model=model["metadata"]["name"], error=str(another))

    async def _write_status(
        self, model: Object, typed: SpeculativeModel | None, found: Sequence[Finding], measured: Measured
    ) -> None:
        children = self._store.owned(model["metadata"]["uid"])
        after = status(model, found, children, typed, measured.fields, self._now())
        changed = patch(model.get("status") or {}, after)
        if changed:
            before = (model.get("status") or {}).get("conditions") or []
            try:
                self._store.model_seen(await self._kube.merge_status(model, changed))
            except KubeError as error:
                if error.not_found and await self._gone(model):
                    return
                raise
            await self._teller.tell(model, transitions(before, after["conditions"]))


def _runs_draft(children: Sequence[Object]) -> bool:
    return any(each["kind"] == "Deployment" and each["metadata"]["name"].endswith("-draft") for each in children)


def is_of_spec(children: Sequence[Object], typed: SpeculativeModel, platform: Platform) -> bool:
    """Whether the target that is there is the one that the spec means, of whichever version its image is. True where
    there is none.
    """
    wanted = target_deployment(typed, platform)
    live = next((item for item in children if identity(item) == identity(wanted)), None)
    if live is None:
        return True
    images = [each["image"] for each in live["spec"]["template"]["spec"]["containers"] if each["name"] == "target"]
    of_version = target_deployment(typed, replace(platform, target_image=images[0])) if images else wanted
    return covers(live["spec"]["template"], of_version["spec"]["template"])


def read(model: Object) -> tuple[SpeculativeModel | None, list[str]]:
    """The typed model, or what is wrong with it: each the field and the remedy."""
    typed, problems = check_object({name: value for name, value in model.items() if name != "status"})
    return typed, [f"{problem.field}: {problem.message}" for problem in problems]
