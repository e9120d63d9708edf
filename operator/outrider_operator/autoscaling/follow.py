"""One model at a tick: decide, carry out, and put down what there is to say."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from outrider_operator.autoscaling import timing
from outrider_operator.autoscaling.actuate import Actuator
from outrider_operator.autoscaling.asked import Asked
from outrider_operator.autoscaling.columns import columns, noticeable
from outrider_operator.autoscaling.decide import decide
from outrider_operator.autoscaling.decision import Decision, Subject
from outrider_operator.autoscaling.findings import findings
from outrider_operator.autoscaling.history import History
from outrider_operator.autoscaling.observe import Seen
from outrider_operator.autoscaling.pages import NoPage, Pages
from outrider_operator.autoscaling.remember import with_other_models
from outrider_operator.autoscaling.report import Change, advised, change, entries, said
from outrider_operator.autoscaling.steps import Steps, replicas_of, steps, wanted
from outrider_operator.kube.client import Kube
from outrider_operator.kube.errors import KubeError
from outrider_operator.measure.links import parse_links
from outrider_operator.metrics import ScalingMetrics
from outrider_operator.reconcile.measured import COLUMNS, OF_SCALING, Measured, carried
from outrider_operator.reconcile.store import Key, Store, key_of
from outrider_operator.reconcile.tell import Teller
from outrider_operator.resources.pod import Object

log = structlog.get_logger()


@dataclass
class Followed:
    """What is remembered of a model from tick to tick.

    told_off_s: since when the targets are told not to speculate; None while they may. words: of a refused draft.
    models: of which the history is, by role; of a role that is not there none was measured yet.
    """

    key: Key
    history: History
    columns_at_s: float = -math.inf
    told_off_s: float | None = None
    words: str = ""
    models: dict[str, tuple[str, ...]] = field(default_factory=dict)


class Follower:
    """Of all models, each under its uid."""

    def __init__(
        self, kube: Kube, store: Store, metrics: ScalingMetrics, pages: Pages, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._pages = pages
        self._now = now
        self._actuator = Actuator(kube, store)
        self._teller = Teller(kube, now)
        self._followed: dict[str, Followed] = {}

    def keep(self, uids: AbstractSet[str]) -> None:
        """Forgets all other models."""
        for uid in self._followed.keys() - uids:
            self._metrics.undecided(self._followed.pop(uid).key)

    async def follow(self, model: Object, asked: Asked | None, seen: Seen, now_s: float) -> bool:
        """Whether there is something new for the status. asked: None where the spec is not accepted: then nothing is
        done, and what is measured is said all the same.
        """
        uid = model["metadata"]["uid"]
        known = self._followed.setdefault(uid, Followed(key_of(model), History(now_s)))
        before = self._store.measured(uid) or carried(model.get("status") or {})
        told: list[Object] = list(before.fields.get("scalingDecisions") or [])  # type: ignore[call-overload]
        if asked is None or asked.paused or asked.policy is None:
            self._metrics.undecided(known.key)
        made = [] if asked is None else await self._act(model, asked, seen, known, told, now_s)
        await self._hear(seen, known)
        of_scaling = _of_scaling(asked, seen, made, entries(told, made, self._now()), before.fields)
        fields = {**self._columns(before.fields, seen, known, now_s), **of_scaling}
        after = Measured(fields, findings(asked, seen, known.words))
        self._store.measure(uid, after)
        return after != before

    async def _act(
        self, model: Object, asked: Asked, seen: Seen, known: Followed, told: Sequence[Object], now_s: float
    ) -> list[Change]:
        """What was changed, or in mode Advisory would have been. told: what was changed before."""
        key, observation = key_of(model), seen.observation
        if _tried_anew(known.models, seen):
            known.history = with_other_models(known.history, now_s)
        if observation.speculating:
            known.told_off_s = None
        elif known.told_off_s is None:
            known.told_off_s = now_s
        if asked.paused or asked.policy is None:
            return [] if asked.paused else await self._carry_out(model, Steps(speculate=_given_back(seen)), None, seen)
        if seen.read_once:
            return []
        decision, known.history = decide(observation, asked.policy, known.history, now_s)
        self._metrics.decided(key, _desired(decision, asked, seen))
        if asked.advisory:
            # What mode Active has turned off would stay so, with drafts that nobody asks.
            given_back = await self._carry_out(model, Steps(speculate=_given_back(seen)), None, seen)
            return given_back or _advised(decision, asked, seen, told)
        todo = steps(decision, observation, asked, _silent(seen, known, now_s))
        return await self._carry_out(model, todo, decision, seen)

    async def _carry_out(self, model: Object, todo: Steps, decision: Decision | None, seen: Seen) -> list[Change]:
        """What came about. What the server does not take just now is decided anew at the next tick, and keeps nothing
        else from being done, but for this: the last draft does not go where the targets could not be told.
        """
        key, observation = key_of(model), seen.observation
        made: list[Change] = []
        told = True
        if todo.speculate is not None:
            told = await self._done(key, self._actuator.tell(key, todo.speculate))
            if told:
                made.append(change(decision, "speculation", int(observation.speculating), int(todo.speculate)))
        for role, replicas in todo.replicas.items():
            if role == "draft" and replicas == 0 and not told:
                continue
            if await self._done(key, self._actuator.scale(key, role, replicas)):
                made.append(change(decision, role, replicas_of(observation, role), replicas))
        for each in made:
            log.info("scaled", namespace=key.namespace, model=key.name, **each.as_log())
            self._metrics.changed(each.role, each.after > each.before)
        await self._teller.tell(model, map(said, made))
        return made

    async def _done(self, key: Key, write: Awaitable[None]) -> bool:
        """Whether the server took it."""
        try:
            await write
        except KubeError as error:
            if not error.namespace_ends:
                self._metrics.not_carried_out()
                log.warning("not scaled", namespace=key.namespace, model=key.name, error=str(error))
            return False
        return True

    async def _hear(self, seen: Seen, known: Followed) -> None:
        """A target's own words about a draft that it has refused, once for each refusal."""
        if seen.refusing is None:
            known.words = ""
        elif not known.words:
            try:
                health = json.loads(await self._pages.get(seen.refusing, "/health"))
            except (NoPage, ValueError):
                return
            links = parse_links(health).values()
            known.words = next((link.reason for link in links if link.state == "Incompatible"), "")

    @staticmethod
    def _columns(before: Mapping[str, object], seen: Seen, known: Followed, now_s: float) -> dict[str, object]:
        """As they were, until they have changed by enough, and for long enough not to write all the time."""
        old = {name: before[name] for name in COLUMNS if name in before}
        if seen.read_once:
            return old
        new = columns(seen.observation.signals)
        if now_s - known.columns_at_s < timing.WRITE_S or not noticeable(old, new):
            return old
        known.columns_at_s = now_s
        return new


def _tried_anew(models: dict[str, tuple[str, ...]], seen: Seen) -> bool:
    """Whether there is a first measurement of another model that was asked for, and puts down which are measured. The
    old one's is its own until then; and of pods of its that come late, in a rollout that scales, it is nothing new.
    """
    new = {role: model for role, model in seen.models.items() if role not in models or role not in seen.awaited}
    changed = any(models.get(role, model) != model for role, model in new.items())
    models |= new
    return changed


def _desired(decision: Decision, asked: Asked, seen: Seen) -> dict[str, tuple[int, str]]:
    """Replicas and the reason's code, by role."""
    found: dict[str, tuple[int, str]] = {}
    for role, replicas in wanted(decision, asked, seen.observation.others).items():
        why = decision.why(role)
        found[role] = replicas, "" if why is None else why.code
    return found


def _given_back(seen: Seen) -> bool | None:
    """Where it is not for the operator to say, targets may speculate, also where it was turned off before."""
    return None if seen.observation.speculating else True


def _silent(seen: Seen, known: Followed, now_s: float) -> bool:
    """Whether no target asks a draft any more: all say so, or were told long ago."""
    if known.told_off_s is None:
        return False
    return seen.stopped or now_s - known.told_off_s >= timing.TOLD_S


def _advised(decision: Decision, asked: Asked, seen: Seen, told: Sequence[Object]) -> list[Change]:
    """What would be changed, and was not said yet."""
    observation = seen.observation
    roles = wanted(decision, asked, observation.others)
    decided: dict[Subject, int] = dict(roles.items())
    there: dict[Subject, int] = {role: replicas_of(observation, role) for role in roles}
    if asked.gated:
        decided["speculation"], there["speculation"] = int(decision.speculate), int(observation.speculating)
    return [change(decision, role, was, decided[role]) for role, was in advised(told, decided, there).items()]


def _of_scaling(
    asked: Asked | None, seen: Seen, made: Sequence[Change], told: Sequence[Object], before: Mapping[str, object]
) -> dict[str, object]:
    """Of the status: what only autoscaling has to say."""
    if asked is None:
        return {name: before[name] for name in OF_SCALING if name in before}
    if asked.policy is None:
        return {}
    speculating = seen.observation.speculating
    if not asked.advisory:
        speculating = next((bool(each.after) for each in made if each.role == "speculation"), speculating)
    return {
        **({"speculating": speculating} if asked.gated else {}),
        **({"scalingDecisions": list(told)} if told else {}),
    }
