"""Generates what follows from the chart's values.yaml: its schema, and the table in its README. Copies the CRD, too:
a chart cannot reach out of its folder. With --check, says what is out of date.

In values.yaml the comment above a value, from `# --` on, describes it, and `# @schema`, a YAML mapping, adds to its
schema. The type is that of the default. A mapping is a group of values, unless it is empty or its schema says which
fields it may have (additionalProperties): then it is a value.
"""

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/outrider"
VALUES = CHART / "values.yaml"
CRD = ROOT / "crds/speculativemodels.outrider.dev.yaml"

DESCRIPTION = "# -- "
ANNOTATION = "# @schema"
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
TABLE = re.compile(r"(?<=<!-- values -->\n).*(?=<!-- /values -->)", re.DOTALL)
# Helm hands a chart the values that a chart above it has for all.
GLOBAL = {"type": "object", "description": "Values of a chart that has this one as a dependency; not used here."}


@dataclass(frozen=True)
class Value:
    """A value of the chart, or a group of them.

    extra: what `# @schema` says. inner: the group's values; none for a value.
    """

    name: str
    text: str
    default: Any
    extra: dict[str, Any]
    inner: tuple["Value", ...]


def read() -> tuple[Value, ...]:
    """The values, in their order. Ends the program where one has no description."""
    text = VALUES.read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return tuple(_read(root, yaml.safe_load(text), text.splitlines()))


def _read(node: yaml.MappingNode, data: dict[str, Any], lines: list[str]) -> Iterator[Value]:
    for key, value in node.value:
        text, extra = _said(lines, key.start_mark.line)
        default = data[key.value]
        group = isinstance(value, yaml.MappingNode) and bool(value.value) and "additionalProperties" not in extra
        inner = tuple(_read(value, default, lines)) if group else ()
        if not text and not group:
            where = f"{VALUES.relative_to(ROOT)}:{key.start_mark.line + 1}"
            raise SystemExit(f"{where}: {key.value} has no description; write it above as `{DESCRIPTION}…`")
        yield Value(key.value, text, default, extra, inner)


def _said(lines: list[str], line: int) -> tuple[str, dict[str, Any]]:
    """The description and the schema in the comment above a line."""
    above = []
    for each in reversed(lines[:line]):
        if not each.lstrip().startswith("#"):
            break
        above.insert(0, each.strip())
    described = [number for number, each in enumerate(above) if each.startswith(DESCRIPTION)]
    if not described:
        return "", {}
    comment = above[described[-1] :]
    annotated = [number for number, each in enumerate(comment) if each.startswith(ANNOTATION)]
    end = annotated[0] if annotated else len(comment)
    text = " ".join(each.removeprefix(DESCRIPTION).removeprefix("#").strip() for each in comment[:end])
    extra = "\n".join(each.removeprefix(ANNOTATION).removeprefix("#") for each in comment[end:])
    return text, yaml.safe_load(textwrap.dedent(extra)) or {}


def schema(values: tuple[Value, ...]) -> dict[str, Any]:
    """The JSON schema of values.yaml. Closed: a name that is misspelt is refused, not left without effect."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the Outrider chart",
        "description": "Generated from values.yaml by `make generate`: do not edit.",
        **_group(values),
    }


def _group(values: tuple[Value, ...]) -> dict[str, Any]:
    fields = {value.name: _schema(value) for value in values}
    return {"type": "object", "additionalProperties": False, "properties": fields}


def _schema(value: Value) -> dict[str, Any]:
    described = {"description": value.text} if value.text else {}
    if value.inner:
        return {**described, **_group(value.inner)}
    kind = {} if "enum" in value.extra else {"type": TYPES[type(value.default)]}
    return {**described, **kind, **value.extra}


def table(values: tuple[Value, ...]) -> str:
    """The values as a table in Markdown."""
    rows = ["| value | default | |", "| --- | --- | --- |"]
    for path, value in _leaves(values):
        default = json.dumps(value.default, ensure_ascii=False)
        cells = [f"`{'.'.join(path)}`", f"`{default}`", value.text + _choices(value)]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _choices(value: Value) -> str:
    """What it may be, where the default does not tell."""
    choices = value.extra.get("enum", [])
    return f" One of {', '.join(f'`{_plain(each)}`' for each in choices)}." if choices else ""


def _plain(value: Any) -> str:
    """As it is written in YAML."""
    return value if isinstance(value, str) else json.dumps(value)


def _leaves(values: tuple[Value, ...], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Value]]:
    for value in values:
        if value.inner:
            yield from _leaves(value.inner, (*path, value.name))
        else:
            yield (*path, value.name), value


def generate() -> dict[Path, str]:
    """The files, and their text."""
    values = read()
    made = schema(values)
    made["properties"]["global"] = GLOBAL
    readme = CHART / "README.md"
    return {
        CHART / "values.schema.json": json.dumps(made, indent=2, ensure_ascii=False) + "\n",
        readme: TABLE.sub(lambda _: f"\n{table(values)}\n", readme.read_text(encoding="utf-8")),
        CHART / "files" / CRD.name: CRD.read_text(encoding="utf-8"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something is out of date")
    check = parser.parse_args().check
    for file, text in generate().items():
        if not check:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            sys.exit(f"{file.relative_to(ROOT)} is out of date: run `make generate`")


if __name__ == "__main__":
    main()
