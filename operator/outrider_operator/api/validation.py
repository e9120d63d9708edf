"""Checks resource files: every problem of a file at once, each with its line, its field and the remedy."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from outrider_operator.api.document import Document, Path, document_of, documents, dotted
from outrider_operator.api.explain import QUANTITY_REMEDY, explain, unknown
from outrider_operator.api.fields import Field, field_at
from outrider_operator.api.problem import InvalidResourceError, Problem, UnreadableError
from outrider_operator.api.quantity import parse_quantity
from outrider_operator.api.rule import ROLES, Rule
from outrider_operator.api.rules import RULES
from outrider_operator.api.scaling_rules import AUTOSCALING
from outrider_operator.api.v1alpha1 import SpeculativeModel

KIND = "SpeculativeModel"
LARGEST_FILE_BYTES = 3 << 20  # twice what a cluster stores as one object

# The API server's own fields as well: they stand in what it gives out.
METADATA_FIELDS = [
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
]


@dataclass
class Checked:
    """What a text holds: the models that are right, and what is wrong with the others, by line."""

    models: list[SpeculativeModel] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_text(path: FilePath) -> str:
    """The text of a resource file. Raises UnreadableError where there is none to be had."""
    try:
        with path.open("rb") as file:
            # One byte more than is allowed, so that a longer file is seen to be too long.
            return decode(file.read(LARGEST_FILE_BYTES + 1), str(path))
    except FileNotFoundError:
        raise UnreadableError(f"{path}: no such file; name a file with a {KIND}") from None
    except IsADirectoryError:
        raise UnreadableError(f"{path}: is a folder; name the files in it") from None
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror or error}; name a file that can be read") from None


def decode(raw: bytes, source: str) -> str:
    """The text of a file's bytes. Raises UnreadableError where it is none, or too long."""
    if len(raw) > LARGEST_FILE_BYTES:
        raise UnreadableError(f"{source}: too large for a resource; name a file of at most 3 MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableError(f"{source}: not YAML: it is not UTF-8 text; name a text file") from None


def check(text: str, source: str) -> Checked:
    """Checks every document of a YAML text. `source` names it in the problems.

    Raises UnreadableError where the text is not YAML at all.
    """
    checked = Checked()
    seen: dict[tuple[str, str], int] = {}
    for document in documents(text, source):
        problems = _problems(document)
        checked.problems += problems
        if not problems:
            model = _typed(document)
            again = _again(document, model, seen)
            checked.problems += again
            checked.models += [] if again else [model]
    if not checked.models and not checked.problems:
        checked.problems.append(Problem(source, 1, 1, "", f"holds no resource; write a {KIND} into it"))
    checked.problems.sort()
    return checked


def check_object(data: dict[str, Any]) -> tuple[SpeculativeModel | None, list[Problem]]:
    """Checks an object that a server has given: the model, or everything that is wrong with it."""
    document = document_of(data)
    problems = sorted(_problems(document))
    return (None if problems else _typed(document)), problems


def validate(path: FilePath) -> list[Problem]:
    """Everything that is wrong with a file, by line. Raises UnreadableError."""
    return check(read_text(path), str(path)).problems


def load(path: FilePath) -> list[SpeculativeModel]:
    """The models of a file. Raises UnreadableError, and InvalidResourceError with every problem."""
    checked = check(read_text(path), str(path))
    if checked.problems:
        raise InvalidResourceError(checked.problems)
    return checked.models


def _problems(document: Document) -> list[Problem]:
    data = document.data
    if not isinstance(data, dict):
        return [document.problem((), f"not a resource; begin with `apiVersion` and `kind: {KIND}`")]
    if data.get("kind") != KIND:
        there = f"{data['kind']!r} is not read here; " if "kind" in data else "missing; "
        remedy = f"write `kind: {KIND}`, and keep other kinds in files of their own"
        return [*document.problems, document.problem(("kind",), there + remedy)]
    known = {problem.field for problem in document.problems}
    found = {problem.field: problem for problem in reversed(_type_problems(document)) if problem.field not in known}
    problems = [
        *document.problems,
        *found.values(),
        *_metadata_problems(document),
        *_quantity_problems(document),
    ]
    return problems + _broken_rules(document, {problem.field for problem in problems})


def _type_problems(document: Document) -> list[Problem]:
    try:
        _typed(document)
    except ValidationError as error:
        return [explain(document, detail) for detail in error.errors()]
    return []


def _typed(document: Document) -> SpeculativeModel:
    data = _without_nulls(document.data, Field(SpeculativeModel))
    return SpeculativeModel.model_validate_json(json.dumps(data), strict=True)


def _without_nulls(data: Any, at: Field | None) -> Any:
    """Without the empty fields that may be left out: the API server takes them for absent too."""
    if not isinstance(data, dict) or at is None:
        return data
    return {
        name: _without_nulls(value, at.names.get(name))
        for name, value in data.items()
        if not (value is None and name in at.names and not at.names[name].required)
    }


def _metadata_problems(document: Document) -> list[Problem]:
    metadata = document.data.get("metadata")
    names = metadata if isinstance(metadata, dict) else {}
    wrong = [("metadata", name) for name in names if name not in METADATA_FIELDS]
    return [document.problem(path, unknown(path, METADATA_FIELDS), at_key=True) for path in wrong]


def _quantity_problems(document: Document) -> list[Problem]:
    problems = []
    for path in _quantities(document.data):
        value = _value(document.data, path)
        if isinstance(value, int | str) and not isinstance(value, bool) and not _is_quantity(value):
            problems.append(document.problem(path, f"{value!r} is not a quantity; {QUANTITY_REMEDY}"))
    return problems


def _quantities(data: Any) -> Iterator[Path]:
    """Where the resource has quantities."""
    yield "spec", "storage", "size"
    for role in ROLES:
        yield ("spec", role, "kvCache", "memory")
        for direction in ("scaleUp", "scaleDown"):
            yield (*AUTOSCALING, role, "behavior", direction, "tolerance")
        for kind in ("requests", "limits"):
            path: Path = ("spec", role, "resources", kind)
            quantities = _value(data, path)
            yield from ((*path, name) for name in (quantities if isinstance(quantities, dict) else ()))


def _broken_rules(document: Document, wrong_fields: set[str]) -> list[Problem]:
    return [
        _broken(document, path, rule)
        for rule in RULES
        for path in rule.paths
        if not _holds(rule, path, document, wrong_fields)
    ]


def _holds(rule: Rule, path: Path, document: Document, wrong_fields: set[str]) -> bool:
    """Whether the value at the path keeps the rule. True where there is none, or none that can be judged."""
    value = _value(document.data, path)
    at = field_at(path)
    within = re.compile(rf"{re.escape(dotted(path))}($|[.\[])")
    if value is None or at is None or any(map(within.match, wrong_fields)):
        return True
    try:
        typed = TypeAdapter(at.type).validate_json(json.dumps(_without_nulls(value, at)), strict=True)
    except ValidationError:
        return True
    return rule.holds(typed)


def _broken(document: Document, path: Path, rule: Rule) -> Problem:
    """The problem of a broken rule, at the field that a person would change where it is in the file."""
    shown_at = (*path, *rule.shown_at)
    place = shown_at if shown_at in document.keys else path
    return document.problem(place, rule.message, at_key=isinstance(_value(document.data, place), dict))


def _again(document: Document, model: SpeculativeModel, seen: dict[tuple[str, str], int]) -> list[Problem]:
    """A second model of one name in a file: when applied, it would replace the first."""
    identity = (model.metadata.namespace or "", model.metadata.name)
    line = document.keys["metadata", "name"][0]
    if identity not in seen:
        seen[identity] = line
        return []
    message = f"{identity[1]} has that name already, in line {seen[identity]}; rename one of the two"
    return [document.problem(("metadata", "name"), message)]


def _value(data: Any, path: Path) -> Any:
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    return data


def _is_quantity(value: int | str) -> bool:
    try:
        parse_quantity(value)
    except ValueError:
        return False
    return True
