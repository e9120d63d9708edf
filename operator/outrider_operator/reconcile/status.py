"""The status of a model, as it is written. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.reconcile.conditions import (
    ACCEPTED,
    DRAFT_READY,
    NOT_BROUGHT,
    READY,
    TARGET_READY,
    Finding,
    conditions,
    finding_of,
    ready,
    rollout,
)
from outrider_operator.reconcile.replicas import replicas
from outrider_operator.resources.network import target_url
from outrider_operator.resources.pod import Object
from outrider_operator.resources.scaling import initial_replicas, scaled_roles


def accepted(problems: Sequence[str], paused: bool = False, lacking: Sequence[str] = ()) -> Finding:
    """Whether the spec can become objects. All that is wrong is said, the first thing first. lacking: what is asked for
    and the cluster has not got; the model works without.
    """
    if problems:
        return Finding(ACCEPTED, "False", "Invalid", "; ".join(problems)[:32768])
    if paused:
        return Finding(ACCEPTED, "True", "Paused", "spec.paused: its objects are left as they are")
    if lacking:
        return Finding(ACCEPTED, "True", "Lacking", "; ".join(lacking)[:32768])
    return Finding(ACCEPTED, "True", "Valid", "the spec keeps all rules")


def findings(
    model: Object,
    accepted_: Finding,
    children: Iterable[Object],
    drafts: bool,
    enough: Mapping[str, int],
    measured: Iterable[Finding] = (),
) -> list[Finding]:
    """What all conditions are to say of a model's objects. drafts: whether a draft is to run. enough: by role, how many
    pods make it ready where it is scaled. measured: what the loop over the pods' metrics says.
    """
    name, before = model["metadata"]["name"], _of_this_spec(model)
    deployments = {each["metadata"]["name"]: each for each in children if each["kind"] == "Deployment"}
    target = rollout(TARGET_READY, deployments.get(f"{name}-target"), enough.get("target"), before.get(TARGET_READY))
    draft = None
    if drafts:
        draft = rollout(DRAFT_READY, deployments.get(f"{name}-draft"), enough.get("draft"), before.get(DRAFT_READY))
    found = [accepted_, target, *([] if draft is None else [draft])]
    return [*found, *measured, ready(accepted_, target, draft)]


def _of_this_spec(model: Object) -> dict[str, Finding]:
    """The conditions that speak of the spec as it stands. Until it had come about, they spoke of what ran before."""
    said = (model.get("status") or {}).get("conditions") or ()
    current = [each for each in said if each.get("observedGeneration") == model["metadata"]["generation"]]
    found = {each["type"]: finding_of(each) for each in current}
    return {} if READY in found and found[READY].reason in NOT_BROUGHT else found


def enough_pods(typed: SpeculativeModel | None) -> dict[str, int]:
    """By role, for those that are scaled: how many are as many as there are at least."""
    return {} if typed is None else {role: initial_replicas(typed, role) for role in scaled_roles(typed)}


def counts(children: Iterable[Object]) -> Object:
    """Replicas of each role, those that are ready, and the selector that finds them, as /scale and the columns want it.

    Those that are wanted, not those that are there: a cluster that makes pods has made them within a second, and one
    that does not says why in the condition.
    """
    found: Object = {}
    for item in children:
        if item["kind"] != "Deployment":
            continue
        labels = item["spec"]["selector"]["matchLabels"]
        role, of_pods = labels["app.kubernetes.io/component"], item.get("status") or {}
        found[f"{role}Replicas"] = replicas(item)
        found[f"{role}ReadyReplicas"] = of_pods.get("readyReplicas", 0)
        found[f"{role}Selector"] = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    return found


def status(
    model: Object,
    found: Iterable[Finding],
    children: Iterable[Object],
    typed: SpeculativeModel | None,
    measured: Mapping[str, object],
    now: datetime,
) -> Object:
    """The whole status. typed: the spec where it is accepted; else the URL stays that of what runs. measured: fields
    of it.
    """
    before: Mapping[str, object] = model.get("status") or {}
    generation = model["metadata"]["generation"]
    url = before.get("url") if typed is None else target_url(typed)
    made: Object = {
        "observedGeneration": generation,
        "conditions": conditions(found, generation, (model.get("status") or {}).get("conditions") or (), now),
        **counts(children),
        **measured,
    }
    return made if url is None else {**made, "url": url}


def patch(before: Object, after: Object) -> Object:
    """The merge patch between the two: what has changed, and None for what has gone. Empty where nothing has."""
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    return {**changed, **{name: None for name in before if name not in after}}
