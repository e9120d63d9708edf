"""Whether servers would take objects: Kubernetes' own kinds by their published schemas, others by their CRDs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

# The oldest that clusters still have, one between, and the newest that is known.
VERSIONS = ("1.27", "1.31", kubernetes_validate.latest_version())
ROOT = Path(__file__).resolve().parents[2]
STAND_INS = Path(__file__).with_name("crds")
CRDS = (*sorted(STAND_INS.glob("*.yaml")), ROOT / "crds" / "speculativemodels.outrider.dev.yaml")


def validate(item: Mapping[str, Any], version: str) -> None:
    """Raises what says why a server of that version would not take it, or would not know a field. An object of a kind
    that neither has a schema for raises KeyError.
    """
    place = item["apiVersion"], item["kind"]
    if place in _custom():
        jsonschema.Draft202012Validator(_custom()[place]).validate(item)
        return
    try:
        kubernetes_validate.validate(dict(item), version, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        raise KeyError(f"no schema of {'/'.join(place)} for {version}") from None


@cache
def _custom() -> dict[tuple[str, str], dict[str, Any]]:
    """Schemas of the CRDs by version and kind."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for file in CRDS:
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]
        for version in spec["versions"]:
            schema = _closed(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}  # the server's own
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def _closed(schema: Any) -> Any:
    """Refuses fields that it does not name, which a server would silently drop."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(inner) for name, inner in schema.items()}
    named = schema.get("type") == "object" and "properties" in schema
    if named and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed["additionalProperties"] = False
    return closed


def distinct(items: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One of each kind and shape: of two that differ in names and numbers alone, a server takes both or neither, and to
    validate one takes long.
    """
    return list({_shape(item): item for item in items}.values())


def _shape(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return frozenset((name, _value_or_shape(name, inner)) for name, inner in value.items())
    if isinstance(value, list):
        return frozenset(map(_shape, value))
    return type(value).__name__


def _value_or_shape(name: str, value: Any) -> Hashable:
    """What kind an object is of makes a difference."""
    return value if name in ("apiVersion", "kind") and isinstance(value, str) else _shape(value)
