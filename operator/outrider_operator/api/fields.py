"""What the generated classes say of the field at a path: its siblings, its type, its bounds."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel

from outrider_operator.api.document import Path
from outrider_operator.api.v1alpha1 import SpeculativeModel


@dataclass(frozen=True)
class Field:
    """One field of the API, found by its path."""

    type: Any  # without None: `str | None` is str
    required: bool = True
    metadata: list[Any] = field(default_factory=list)

    @property
    def names(self) -> Mapping[str, "Field"]:
        """The fields within this one, by the name that YAML has; empty where it has no fixed ones."""
        return fields_of(self.type) if isinstance(self.type, type) and issubclass(self.type, BaseModel) else {}

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of an enumeration."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def bounds(self) -> str:
        """The numbers that fit, in words; empty where all do."""
        low = next((bound.ge for bound in self.metadata if isinstance(bound, annotated_types.Ge)), None)
        high = next((bound.le for bound in self.metadata if isinstance(bound, annotated_types.Le)), None)
        if low is not None and high is not None:
            return f"from {_plain(low)} to {_plain(high)}"
        return "" if low is None else f"at least {_plain(low)}"


def _plain(bound: Any) -> str:
    """A bound as a person writes it: 1, not 1.0."""
    return str(int(bound)) if bound == int(bound) else str(bound)


@cache
def fields_of(model: type[BaseModel]) -> Mapping[str, Field]:
    """The fields of a generated class by the name that YAML has. Kept: the rules ask for hundreds of every model."""
    return {
        info.alias or name: Field(_without_none(info.annotation), info.is_required(), info.metadata)
        for name, info in model.model_fields.items()
    }


def field_at(path: Path) -> Field | None:
    """The field at a path from the root of the resource. None where the API has none there."""
    found = Field(SpeculativeModel)
    for part in path:
        if isinstance(part, str) and part in found.names:
            found = found.names[part]
        elif get_origin(found.type) in (dict, list):
            found = Field(_without_none(get_args(found.type)[-1]))
        else:
            return None
    return found


def paths_of(name: str, start: Path = ("spec",)) -> list[Path]:
    """Every path below `start` that ends in a field of this name."""
    here = field_at(start)
    found: list[Path] = []
    for inner in here.names if here else ():
        found += [(*start, inner)] if inner == name else []
        found += paths_of(name, (*start, inner))
    return found


def closest(word: str, among: Iterable[str]) -> str | None:
    """What was probably meant by a misspelt word; None where nothing is close."""
    by_lowercase = {candidate.lower(): candidate for candidate in among}
    matches = difflib.get_close_matches(word.lower(), by_lowercase, n=1, cutoff=0.6)
    return by_lowercase[matches[0]] if matches else None


def _without_none(annotation: Any) -> Any:
    """The type of a field that may be left out: of `str | None` str, of `int | str | None` a quantity, `int | str`."""
    if get_origin(annotation) in (Union, UnionType) and type(None) in get_args(annotation):
        return reduce(or_, [part for part in get_args(annotation) if part is not type(None)])
    return annotation
