"""What must be written so that the objects of a model are as they should be. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from outrider_operator.api.quantity import parse_quantity
from outrider_operator.resources.pod import Object

# Of what was applied. A field that is no longer wanted does not show in what is there: another may have set it.
APPLIED = "outrider.dev/applied"
# Lists that the server merges by a key, as others may have added to them: the first that tells all entries apart.
KEYS = ("name", "mountPath", "containerPort", "port", "type", "topologyKey", "uid")
QUANTITIES = frozenset({"requests", "limits", "sizeLimit", "divisor"})
# Where "" or false says another thing than nothing, so that the server keeps it; elsewhere it leaves both out.
KEPT = frozenset({"automountServiceAccountToken", "enableServiceLinks", "allowPrivilegeEscalation", "storageClassName"})
# Maps of texts under names that are no fields: there the server keeps "" too, as of node-role.kubernetes.io/gpu.
FREE = frozenset({"annotations", "data", "labels", "matchLabels", "nodeSelector", "selector", "stringData"})


@dataclass(frozen=True)
class Difference:
    """apply: in this order. prune: what is there, is the model's and is no longer wanted."""

    apply: Sequence[Object]
    prune: Sequence[Object]

    @property
    def empty(self) -> bool:
        return not (self.apply or self.prune)


class Differs(NamedTuple):
    """What is there and not as it is wanted. path: the names of fields on the way, in lists the keys of entries."""

    path: tuple[object, ...]
    wanted: object
    live: object


def identity(item: Object) -> tuple[str, str]:
    """What tells the objects of one model apart: kind and name."""
    return item["kind"], item["metadata"]["name"]


def stamped(item: Object) -> Object:
    """The object with the hash of what it says, as it is applied; what a Secret holds is not in it."""
    told = {name: value for name, value in item.items() if item["kind"] != "Secret" or name != "data"}
    content = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    metadata = item["metadata"]
    annotations = {**metadata.get("annotations", {}), APPLIED: content}
    return {**item, "metadata": {**metadata, "annotations": annotations}}


def difference(
    wanted: Iterable[Object],
    there: Iterable[Object],
    kept: Mapping[tuple[str, str], Collection[Differs]] | None = None,
) -> Difference:
    """`there`: every object that the model owns. kept: by kind and name, what differed still in the server's answer to
    the last apply, and would after the next: an admission webhook has it so.
    """
    live = {identity(item): item for item in there}
    items = [stamped(item) for item in wanted]
    apply = [item for item in items if changes(live.get(identity(item)), item, (kept or {}).get(identity(item), ()))]
    wanted_ = {identity(item) for item in items}
    prune = [item for key, item in live.items() if key not in wanted_ and "deletionTimestamp" not in item["metadata"]]
    return Difference(apply, prune)


def changes(live: Object | None, wanted: Object, kept: Collection[Differs]) -> bool:
    """Whether an apply changes anything, where `kept` is what differs after one."""
    return any(each not in kept for each in differs(live, wanted))


def covers(live: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is there. More may be: what the server fills in, what others have added."""
    return next(differs(live, wanted), None) is None


def differs(
    live: Any, wanted: Any, path: tuple[object, ...] = (), quantity: bool = False, free: bool = False
) -> Iterator[Differs]:
    """All that is wanted and not there. quantity: they are quantities, or hold some. free: they are one of FREE."""
    if isinstance(wanted, dict):
        if live is None and wanted:
            yield Differs(path, wanted, None)
            return
        found = live if isinstance(live, dict) else {}
        for name, value in wanted.items():
            if free or found.get(name) is not None or not _left_out(name, value):
                of_quantity = quantity or name in QUANTITIES
                yield from differs(found.get(name), value, (*path, name), of_quantity, name in FREE)
    elif isinstance(wanted, list):
        yield from _differs_in_list(live or [], wanted, path)
    elif not (live == wanted or (quantity and _same_quantity(live, wanted))):
        yield Differs(path, wanted, live)


def _differs_in_list(live: list[Any], wanted: list[Any], path: tuple[object, ...]) -> Iterator[Differs]:
    key = next((key for key in KEYS if wanted and _tells_apart(key, wanted)), None)
    if key is not None:
        by_key = {each.get(key): each for each in live if isinstance(each, dict)}
        for each in wanted:
            yield from differs(by_key.get(each[key]), each, (*path, each[key]))
    elif len(live) != len(wanted):
        yield Differs(path, wanted, live)
    else:
        for index, (of_live, each) in enumerate(zip(live, wanted, strict=True)):
            yield from differs(of_live, each, (*path, index))


def _tells_apart(key: str, entries: list[Any]) -> bool:
    """Not name, say, where one volume is mounted in two places."""
    found = [each[key] for each in entries if isinstance(each, dict) and key in each]
    return len(set(found)) == len(entries)


def _left_out(name: str, value: object) -> bool:
    """Whether the server stores a field that is given so as if it were not given."""
    return (value == "" or value is False) and name not in KEPT


def _same_quantity(live: object, wanted: object) -> bool:
    try:
        return thousandths(live) == thousandths(wanted)
    except ValueError:
        return False


def thousandths(quantity: object) -> int:
    """A quantity as the server keeps it: 1000m as 1, and what is finer than a thousandth rounded up (0.3333 as 334m).

    Raises ValueError where it is none.
    """
    return math.ceil(parse_quantity(str(quantity)).scaleb(3))
