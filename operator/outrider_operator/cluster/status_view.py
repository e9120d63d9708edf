"""What `outrider status` shows: as tables and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from outrider_operator.cluster.observed import ROLES, Observed, Pod, Replicas, condition, conditions, is_ready
from outrider_operator.resources.pod import Object

COLOURS = {"True": "green", "False": "red", "Unknown": "yellow", "Normal": "", "Warning": "yellow"}
NOTHING = "–"
# Of the status: the field, what people read, how a number of it is written, and times what.
FIGURES = (
    ("acceptedTokensPerStep", "accepted/step", "{:.2f}", 1),
    ("acceptanceRate", "acceptance", "{:.0f} %", 100),
    ("goodputGain", "speculation earns", "{:.2f}×", 1),
    ("ttftP95", "TTFT p95", "{}", 1),
    ("itlP95", "ITL p95", "{}", 1),
)


def one(seen: Observed, now: datetime) -> Iterator[RenderableType]:
    """The page of one model."""
    yield _heading(seen.model, now)
    yield _roles(seen)
    figures = figures_line(seen.model)
    if figures:
        yield Text(figures)
    yield Text()
    yield (
        condition_table(conditions(seen.model), now)
        if conditions(seen.model)
        else Text("no conditions: the operator has not looked at it yet; see whether it runs", "yellow")
    )
    if seen.pods:
        yield Text()
        yield _pods(seen.pods, now)
    decided = decisions(seen.model)
    if decided:
        yield Text()
        yield _decisions(decided, now)
    if seen.events:
        yield Text()
        yield _events(seen, now)
    for line in seen.unread:
        yield Text(f"not read: {line}", "yellow")


def _heading(model: Object, now: datetime) -> Text:
    metadata, said = model["metadata"], model.get("status") or {}
    state = ("Ready", "bold green") if is_ready(model) else ("not ready", "bold red")
    made = Text.assemble((metadata["name"], "bold"), "  ", state)
    if said.get("url"):
        made.append(f"  {said['url']}")
    made.append(f"  namespace {metadata['namespace']}, {ago(metadata['creationTimestamp'], now)} old", "dim")
    if said and said.get("observedGeneration", 0) < metadata["generation"]:
        made.append("\nthe operator has not taken up the newest change yet", "yellow")
    return made


def _roles(seen: Observed) -> Table:
    made = _table()
    made.show_header = False
    for role in ROLES:
        model = (seen.model["spec"].get(role) or {}).get("model", {}).get("uri")
        counted = seen.replicas.get(role)
        if model is not None or counted is not None:
            made.add_row(role, model or NOTHING, _ready(counted), _updated(counted))
    return made


def _ready(counted: Replicas | None) -> Text:
    if counted is None:
        return Text(NOTHING, "dim")
    colour = "green" if counted.ready >= counted.wanted > 0 else "yellow"
    return Text(f"{counted.ready}/{counted.wanted} ready", colour)


def _updated(counted: Replicas | None) -> str:
    behind = counted is not None and counted.updated < counted.wanted
    return f"{counted.updated} of the newest revision" if behind and counted is not None else ""


def figures_line(model: Object) -> str:
    """The figures of the status, where the operator has measured any."""
    said = model.get("status") or {}
    return "  ".join(
        f"{text} {form.format(value * unit) if isinstance(value, int | float) else value}"
        for field, text, form, unit in FIGURES
        if (value := said.get(field)) is not None
    )


def condition_table(found: Sequence[Object], now: datetime) -> Table:
    """A row a condition."""
    made = _table("condition", "status", "since", "reason", "message")
    for each in found:
        made.add_row(
            each["type"],
            Text(each["status"], COLOURS[each["status"]]),
            ago(each["lastTransitionTime"], now),
            each["reason"],
            Text(one_line(each["message"])),
        )
    return made


def decisions(model: Object) -> list[Object]:
    """What autoscaling has changed last, or would have; the newest first."""
    told: list[Object] = (model.get("status") or {}).get("scalingDecisions") or []
    return told


def _decisions(decided: Sequence[Object], now: datetime) -> Table:
    made = _table("decided", "what", "change", "reason", "message")
    for each in decided:
        made.add_row(
            ago(each["time"], now), each["role"], _change(each), each["reason"], Text(one_line(each["message"]))
        )
    return made


def _change(decided: Object) -> str:
    words = {0: "off", 1: "on"} if decided["role"] == "speculation" else {}
    return " → ".join(str(words.get(decided[end], decided[end])) for end in ("from", "to"))


def _pods(pods: Sequence[Pod], now: datetime) -> Table:
    made = _table("pod", "state", "restarts", "age", "message")
    for each in pods:
        state = Text(each.state, "green" if each.ready else "yellow")
        made.add_row(each.name, state, str(each.restarts), ago(each.created, now), Text(one_line(each.message)))
    return made


def _events(seen: Observed, now: datetime) -> Table:
    made = _table("last", "type", "reason", "about", "message")
    name = seen.model["metadata"]["name"]
    for each in seen.events:
        about = each.about.removeprefix(f"SpeculativeModel/{name}")
        message = one_line(each.message) + (f" ({each.count} times)" if each.count > 1 else "")
        made.add_row(ago(each.at, now), Text(each.type, COLOURS.get(each.type, "")), each.reason, about, Text(message))
    return made


def listed(
    models: Sequence[Object],
    replicas: Mapping[tuple[str, str, str], Replicas],
    with_namespace: bool,
    now: datetime,
) -> Table:
    """A row a model."""
    made = _table(
        *(["namespace"] if with_namespace else []), "name", "ready", "target", "draft", "age", "reason", "url"
    )
    for model in models:
        metadata, ready = model["metadata"], condition(model, "Ready")
        counts = [replicas.get((metadata["namespace"], metadata["name"], role)) for role in ROLES]
        made.add_row(
            *([metadata["namespace"]] if with_namespace else []),
            metadata["name"],
            Text("yes", "green") if is_ready(model) else Text("no", "red"),
            *(NOTHING if each is None else f"{each.ready}/{each.wanted}" for each in counts),
            ago(metadata["creationTimestamp"], now),
            ready["reason"] or NOTHING,
            (model.get("status") or {}).get("url", NOTHING),
        )
    return made


def one_as_json(seen: Observed) -> Object:
    """All about one model, for programs."""
    said = seen.model.get("status") or {}
    return {
        **_about(seen.model),
        "conditions": conditions(seen.model),
        "figures": {field: said[field] for field, *_ in FIGURES if field in said},
        "decisions": decisions(seen.model),
        "roles": {role: asdict(each) for role, each in seen.replicas.items()},
        "pods": [
            {name: getattr(each, name) for name in ("name", "role", "state", "message", "ready", "restarts")}
            for each in seen.pods
        ],
        "events": [asdict(each) for each in seen.events],
        "unread": seen.unread,
    }


def listed_as_json(model: Object, replicas: Mapping[tuple[str, str, str], Replicas]) -> Object:
    """A model of the list, for programs."""
    metadata, ready = model["metadata"], condition(model, "Ready")
    found = {role: replicas.get((metadata["namespace"], metadata["name"], role)) for role in ROLES}
    return {
        **_about(model),
        "reason": ready["reason"],
        "message": ready["message"],
        "roles": {role: asdict(each) for role, each in found.items() if each is not None},
    }


def _about(model: Object) -> Object:
    metadata = model["metadata"]
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "ready": is_ready(model),
        "url": (model.get("status") or {}).get("url"),
    }


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0))


def one_line(text: str) -> str:
    """Messages of others may have several lines."""
    return " ".join(text.split())


def ago(timestamp: str, now: datetime) -> str:
    """How long ago, as kubectl writes it: 42s, 5m, 3h, 12d."""
    seconds = max(0, int((now - datetime.fromisoformat(timestamp)).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
