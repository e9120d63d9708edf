"""What the API server has about a model, in the commands' own terms. Pure: from objects as JSON has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from outrider_operator.measure.endpoint import http_of
from outrider_operator.resources.pod import Object

ROLES = ("target", "draft")
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"


@dataclass(frozen=True)
class Container:
    """init: it runs before the others, and ends."""

    name: str
    init: bool
    started: bool  # it runs, or has run: there is a log
    ended: bool  # it has done its work, and will not be started again


@dataclass(frozen=True)
class Pod:
    """A pod of a model. state and message: as kubectl writes them, with what the kubelet says; "" for nothing."""

    namespace: str
    name: str
    uid: str
    model: str
    role: str
    state: str
    message: str
    ready: bool
    running: bool  # its process runs, so that it may answer
    restarts: int
    created: str
    containers: tuple[Container, ...]
    port: int | None  # of its HTTP: /metrics is there
    https: bool

    @property
    def short_name(self) -> str:
        """The name without what it shares with all pods of the model."""
        return self.name.removeprefix(f"{self.model}-")


@dataclass(frozen=True)
class Replicas:
    """The pods of one role, as its Deployment counts them."""

    wanted: int
    ready: int
    updated: int  # of the newest revision


@dataclass(frozen=True)
class Event:
    """about: kind and name of what it happened to."""

    at: str
    type: str
    reason: str
    message: str
    about: str
    count: int


@dataclass(frozen=True)
class Observed:
    """One model, and what belongs to it. unread: why something is missing here, a line each."""

    model: Object
    replicas: dict[str, Replicas]
    pods: list[Pod]
    events: list[Event]
    unread: list[str]


def is_ready(model: Object) -> bool:
    """Whether the spec as it stands answers."""
    ready = condition(model, "Ready")
    return ready["status"] == "True" and bool(ready.get("observedGeneration") == model["metadata"]["generation"])


def condition(model: Object, type_: str) -> Object:
    """That condition of the model; Unknown where the operator has not said it."""
    found: Object = next(
        (each for each in conditions(model) if each["type"] == type_),
        {"type": type_, "status": "Unknown", "reason": "", "message": "the operator has not looked at it yet"},
    )
    return found


def conditions(model: Object) -> list[Object]:
    said: list[Object] = (model.get("status") or {}).get("conditions") or []
    return said


def pod(item: Object) -> Pod:
    metadata, spec, status = item["metadata"], item["spec"], item.get("status", {})
    labels = metadata.get("labels", {})
    role = labels.get(COMPONENT, "")
    main = next((each for each in spec["containers"] if each["name"] == role), spec["containers"][0])
    statuses = {each["name"]: each for each in status.get("containerStatuses", ())}
    inits = {each["name"]: each for each in status.get("initContainerStatuses", ())}
    of_main = statuses.get(main["name"], {})
    state, message = _state(item, list(inits.values()), list(statuses.values()))
    port, https = http_of(main)
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        model=labels.get(INSTANCE, ""),
        role=role,
        state=state,
        message=message,
        ready=of_main.get("ready", False),
        running="running" in of_main.get("state", {}),
        restarts=of_main.get("restartCount", 0),
        created=metadata["creationTimestamp"],
        containers=(
            *(_container(each["name"], inits.get(each["name"], {}), True) for each in spec.get("initContainers", ())),
            _container(main["name"], of_main, False),
        ),
        port=port,
        https=https,
    )


def _container(name: str, status: Object, init: bool) -> Container:
    state = status.get("state", {})
    ended = state.get("terminated", {})
    has_run = "running" in state or bool(ended) or "terminated" in status.get("lastState", {})
    return Container(name, init, has_run, init and bool(ended) and ended.get("exitCode") == 0)


def _state(item: Object, inits: list[Object], mains: list[Object]) -> tuple[str, str]:
    """What keeps a pod from running comes before what it is otherwise, as in `kubectl get pods`."""
    status = item.get("status", {})
    if "deletionTimestamp" in item["metadata"]:
        return "Terminating", ""
    for number, each in enumerate(inits):
        why = _halted(each)
        if why is not None and why[0] != "PodInitializing":
            return f"Init:{why[0]}", why[1]
        if "running" in each.get("state", {}):
            return f"Init:{number}/{len(inits)}", f"{each['name']} runs first"
    for each in mains:
        why = _halted(each)
        if why is not None:
            return why
    if mains and all(each.get("ready") for each in mains):
        return "Ready", ""
    if mains and "running" in mains[0].get("state", {}):
        return "NotReady", "it runs, and is not ready: it loads its model, or drains"
    waits = [each for each in status.get("conditions", ()) if each["status"] == "False" and each.get("message")]
    return status.get("reason") or status.get("phase", "Pending"), waits[0]["message"] if waits else ""


def _halted(status: Object) -> tuple[str, str] | None:
    """Why a container does not run; None where it does, or has ended well."""
    state = status.get("state", {})
    if "waiting" in state:
        return state["waiting"].get("reason", "Waiting"), _line(state["waiting"]) or _line(_last(status))
    if "terminated" in state and state["terminated"].get("exitCode") != 0:
        ended = state["terminated"]
        return ended.get("reason", "Error"), _line(ended) or f"exit code {ended.get('exitCode')}"
    return None


def _last(status: Object) -> Object:
    last: Object = status.get("lastState", {}).get("terminated", {})
    return last


def _line(state: Object) -> str:
    return " ".join(state.get("message", "").split())


def replicas(deployments: Iterable[Object]) -> dict[tuple[str, str, str], Replicas]:
    """By namespace, model and role."""
    found = {}
    for each in deployments:
        labels, status = each["metadata"].get("labels", {}), each.get("status", {})
        key = each["metadata"]["namespace"], labels.get(INSTANCE, ""), labels.get(COMPONENT, "")
        found[key] = Replicas(
            wanted=each["spec"].get("replicas", 1),
            ready=status.get("readyReplicas", 0),
            updated=status.get("updatedReplicas", 0),
        )
    return found


def event(item: Object) -> Event:
    about = item["involvedObject"]
    series = item.get("series") or {}
    times = (
        series.get("lastObservedTime"),
        item.get("lastTimestamp"),
        item.get("eventTime"),
        item.get("firstTimestamp"),
    )
    return Event(
        at=next((each for each in times if each), item["metadata"]["creationTimestamp"]),
        type=item.get("type", ""),
        reason=item.get("reason", ""),
        message=_line(item),
        about=f"{about['kind']}/{about['name']}",
        count=series.get("count") or item.get("count") or 1,
    )


def newest(events: Iterable[Event], most: int) -> list[Event]:
    """The last ones, the newest first."""
    return sorted(events, key=lambda each: datetime.fromisoformat(each.at), reverse=True)[:most]
