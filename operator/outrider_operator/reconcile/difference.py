"""What must be written so that the objects of a model are as they should be. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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


def difference(wanted: Iterable[Object], there: Iterable[Object]) -> Difference:
    """`there`: every object that the model owns."""
    live = {identity(item): item for item in there}
    items = [stamped(item) for item in wanted]
    apply = [item for item in items if not covers(live.get(identity(item)), item)]
    kept = {identity(item) for item in items}
    prune = [item for key, item in live.items() if key not in kept and "deletionTimestamp" not in item["metadata"]]
    return Difference(apply, prune)


def covers(live: Any, wanted: Any, quantity: bool = False, free: bool = False) -> bool:
    """Whether everything that is wanted is there. More may be: what the server fills in, what others have added.
    quantity: they are quantities, or hold some. free: they are one of FREE.
    """
    if isinstance(wanted, dict):
        found = live if isinstance(live, dict) else {}
        return (live is not None or not wanted) and all(
            covers(found.get(name), value, quantity or name in QUANTITIES, name in FREE)
            or (not free and found.get(name) is None and _left_out(name, value))
            for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return _covers_list(live or [], wanted)
    return bool(live == wanted) or (quantity and _same_quantity(live, wanted))


def _covers_list(live: list[Any], wanted: list[Any]) -> bool:
    key = next((key for key in KEYS if wanted and _tells_apart(key, wanted)), None)
    if key is None:
        return len(live) == len(wanted) and all(map(covers, live, wanted))
    by_key = {each.get(key): each for each in live if isinstance(each, dict)}
    return all(covers(by_key.get(each[key]), each) for each in wanted)


def _tells_apart(key: str, entries: list[Any]) -> bool:
    """Not name, say, where one volume is mounted in two places."""
    found = [each[key] for each in entries if isinstance(each, dict) and key in each]
    return len(set(found)) == len(entries)


def _left_out(name: str, value: object) -> bool:
    """Whether the server stores a field that is given so as if it were not given."""
    return (value == "" or value is False) and name not in KEPT


def _same_quantity(live: object, wanted: object) -> bool:
    """The server writes 1000m as 1."""
    try:
        return parse_quantity(str(live)) == parse_quantity(str(wanted))
    except ValueError:
        return False
