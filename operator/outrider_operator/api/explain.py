"""What a person is told of a field that does not fit its type: what is wrong, and the remedy."""

import json
from datetime import datetime
from typing import Any, get_origin

from pydantic_core import ErrorDetails

from outrider_operator.api.document import Document, Path, dotted
from outrider_operator.api.fields import Field, closest, field_at, paths_of
from outrider_operator.api.problem import Problem
from outrider_operator.api.rules import URI_MESSAGE

QUANTITY_REMEDY = 'write a number or text such as 2, "1.5", 500m or 4Gi'
MOST_PLACES = 2  # a field of more than both roles is no hint of where this one belongs

DURATIONS = ("draftPatience", "ttftP95", "itlP95")

_EXAMPLES = {
    "apiVersion": "outrider.dev/v1alpha1",
    "kind": "SpeculativeModel",
    "name": "my-model",
    "uri": "hf://org/name",
    "size": "50Gi",
    "mountPath": "/data",
    "maxReplicas": "4",
}
_GRAMMAR = {
    "uri": URI_MESSAGE,
    "revision": "not a commit, tag or branch: use letters, digits and . _ / -",
    **dict.fromkeys(DURATIONS, "not a duration: write a number and us, ms or s, such as 50ms"),
    "host": "not the name of a host: write it in lowercase, such as chat.example.com",
    "destinationCA": "not a certificate in PEM: give it from -----BEGIN CERTIFICATE----- on",
    "mountPath": "not a folder in the container: write its whole path, such as /data",
}
_TEXT_EXAMPLES = {**dict.fromkeys(DURATIONS, "50ms"), "uri": "hf://org/name"}
_EXPECTED = {int: "a whole number", float: "a number", str: "text", bool: "true or false", datetime: "a time"}


def explain(document: Document, error: ErrorDetails) -> Problem:
    """The problem that one error of the typed view stands for."""
    path = _path(error)
    kind = error["type"]
    if kind == "missing":
        return document.problem(path, _missing(path[-1]), at_key=True)
    if kind == "extra_forbidden":
        return document.problem(path, unknown(path), at_key=True)
    field = field_at(path)
    return document.problem(path, _misfit(str(path[-1]) if path else "", field, kind, error["input"]))


def unknown(path: Path, siblings: list[str] | None = None) -> str:
    """What is said of a field that the API has not. `siblings`: the fields that it has there."""
    if siblings is None:
        around = field_at(path[:-1])
        siblings = list(around.names) if around else []
    name = str(path[-1])
    elsewhere = [found for found in paths_of(name) if found != path]
    if name not in siblings and 0 < len(elsewhere) <= MOST_PLACES:
        return "not here: move it to " + " or ".join(map(dotted, elsewhere))
    meant = closest(name, siblings)
    if meant:
        return f"unknown field; did you mean {meant}?"
    return f"unknown field; remove it (the fields here are {', '.join(siblings)})"


def _path(error: ErrorDetails) -> Path:
    """The field's path in the document, without what pydantic adds for the branches of a union."""
    path: Path = ()
    for part in error["loc"]:
        last_is_unknown = error["type"] == "extra_forbidden" and len(path) == len(error["loc"]) - 1
        if last_is_unknown or field_at((*path, part)) is not None:
            path = (*path, part)
    return path


def _missing(name: str | int) -> str:
    example = _EXAMPLES.get(str(name))
    return f"missing; add {name}: {example}" if example else f"missing; add {name}"


def _misfit(name: str, field: Field | None, kind: str, value: Any) -> str:
    if field is None:  # of an object of Kubernetes' own, whose fields are not named here
        return f"{_shown(value)} does not fit; see `kubectl explain smodel`"
    if field.choices and kind == "literal_error":
        return _not_a_choice(field.choices, value)
    if kind in ("greater_than_equal", "less_than_equal"):
        if value != value:
            return f"not a number; use one {field.bounds}"
        return f"{_shown(value)} is too {'small' if kind[0] == 'g' else 'large'}; use a number {field.bounds}"
    if value is None:
        return f"has no value; give it one{'' if field.required else ', or remove the line'}"
    if kind.startswith("string_") and kind != "string_type":
        return _GRAMMAR.get(name, f"{_shown(value)} is not of the form that is needed here; correct it")
    if kind == "too_short":
        return "has no entry; add one, or remove the line"
    if kind == "too_long":
        return "too many entries; remove some"
    return f"{_shown(value)} is {_kind(value)}, not {_expected(field)}; {_remedy(name, field, value)}"


def _not_a_choice(choices: tuple[str, ...], value: Any) -> str:
    if value is False and "Off" in choices:
        return 'YAML reads a bare Off (and no) as false; write "Off" in quotes'
    only = f"{choices[0]}" if len(choices) == 1 else f"one of {', '.join(choices)}"
    meant = closest(str(value), choices)
    if len(choices) == 1 or not meant:
        return f"{_shown(value)} is not known here; write {only}"
    return f"{_shown(value)} is not {only}; did you mean {meant}?"


def _remedy(name: str, field: Field, value: Any) -> str:
    if field.type == int | str:
        return QUANTITY_REMEDY
    if field.names:
        return f"put its fields below it, indented: {', '.join(field.names)}"
    if name in _TEXT_EXAMPLES:
        return f"write text such as {_TEXT_EXAMPLES[name]}"
    if field.type is str and not isinstance(value, dict | list):
        return "put it in quotes"
    if field.type in (int, float) and isinstance(value, str) and value.isdigit():
        return f"write it without quotes: {value}"
    return f"write {_expected(field)}{' ' + field.bounds if field.bounds else ''}"


def _expected(field: Field) -> str:
    if field.type == int | str:
        return "a quantity"
    if field.names or get_origin(field.type) is dict:
        return "a mapping"
    if field.choices:
        return "text"
    return _EXPECTED.get(field.type, "a list")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, float):
        return "a number with a fraction"
    return {int: "a number", str: "text", dict: "a mapping", list: "a list"}[type(value)]


def _shown(value: Any) -> str:
    """The value as it could stand in the file, cut where it is long."""
    if isinstance(value, dict | list):
        return "this"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:56]}…{text[0] if text[0] == chr(34) else ''}"
