"""Generates outrider_operator/api/v1alpha1.py from the CRD; with --check, says whether it is up to date.

The CRD nests everything in one schema. Here each object in it becomes a class first, called by its title or else by
its field (objects of the same fields share one): class names that a generator makes up would change with every new
field.
"""

import argparse
import copy
import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CRD = ROOT / "crds/speculativemodels.outrider.dev.yaml"
OUTPUT = ROOT / "operator/outrider_operator/api/v1alpha1.py"
HEADER = '''"""The typed SpeculativeModel. Generated from the CRD in crds/ by `make generate`: do not edit."""

# ruff: noqa: E501

'''
FLAGS = """
    --input-file-type=jsonschema --output-model-type=pydantic_v2.BaseModel --target-python-version=3.11
    --snake-case-field --allow-population-by-field-name --enable-faux-immutability --enum-field-as-literal=all
    --field-constraints --use-annotated --use-union-operator --use-standard-collections --strict-nullable
    --use-schema-description --use-field-description --disable-future-imports --no-formatters
"""

# The API server owns metadata and checks it; named here is what Outrider reads of it.
OBJECT_META = {
    "type": "object",
    "description": "What every Kubernetes object says of itself; fields not named here are kept as they are.",
    "required": ["name"],
    "additionalProperties": True,
    "properties": {
        "name": {"type": "string", "description": "Name of the resource within its namespace."},
        "namespace": {"type": "string", "description": "Absent: that of the command or the context."},
        "uid": {"type": "string", "description": "Identity that the API server gave."},
        "generation": {"type": "integer", "description": "Counts the changes of spec."},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


def json_schema(crd: dict[str, Any]) -> dict[str, Any]:
    """The CRD's schema as a JSON schema whose objects are named definitions."""
    [version] = crd["spec"]["versions"]
    root = copy.deepcopy(version["schema"]["openAPIV3Schema"])
    api_version = f"{crd['spec']['group']}/{version['name']}"
    root["required"] = ["apiVersion", "kind", "metadata", *root["required"]]
    root["properties"]["apiVersion"]["enum"] = [api_version]
    root["properties"]["kind"]["enum"] = [crd["spec"]["names"]["kind"]]
    root["properties"]["metadata"] = copy.deepcopy(OBJECT_META)
    definitions: dict[str, Any] = {}
    for name, schema in root["properties"].items():
        root["properties"][name] = _named("ObjectMeta" if name == "metadata" else name, schema, definitions)
    title = crd["spec"]["names"]["kind"]
    return {**root, "additionalProperties": False, "title": title, "$defs": definitions}


def _named(field: str, schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, or, for an object with fields, a reference to the definition that it becomes."""
    if schema.get("x-kubernetes-int-or-string"):
        # Without the pattern, which would make a class of each half; validation has the grammar itself.
        return {key: schema[key] for key in ("anyOf", "description") if key in schema}
    if schema["type"] == "array":
        return {**schema, "items": _named(field.removesuffix("s"), schema["items"], definitions)}
    if schema["type"] != "object":
        return schema
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if "properties" not in schema:
        extra = True if open_ended else _named(field, schema["additionalProperties"], definitions)
        return {**schema, "additionalProperties": extra}
    fields = {name: _named(name, inner, definitions) for name, inner in schema["properties"].items()}
    definition = {"additionalProperties": open_ended, **schema, "properties": fields}
    default = {"default": definition.pop("default")} if "default" in definition else {}
    class_name = definition.pop("title", field[0].upper() + field[1:])
    _define(class_name, definition, definitions)
    return {"$ref": f"#/$defs/{class_name}", "description": schema["description"], **default}


def _define(class_name: str, definition: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Objects of one name share a class. Where only what is said of them differs, each field says it, and the class
    says nothing."""
    there = definitions.setdefault(class_name, definition)
    if {**there, "description": ""} != {**definition, "description": ""}:
        raise SystemExit(f"{CRD.name}: two objects named {class_name} differ: rename one of them")
    if there.get("description") != definition["description"]:
        there.pop("description", None)


def generate() -> str:
    """The module's text."""
    schema = json_schema(yaml.safe_load(CRD.read_text()))
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "schema.json"), Path(folder, "v1alpha1.py")
        source.write_text(json.dumps(schema))
        flags = [*shlex.split(FLAGS), f"--custom-file-header={HEADER}"]
        subprocess.run([_tool("datamodel-codegen"), "--input", source, "--output", target, *flags], check=True)
        text = target.read_text()
    # A default of {} means "every field's own default", which only an instance says to a type checker.
    text = re.sub(r"Annotated\[(\w+), Field\(validate_default=True\)\] = \{\}", r"\1 = \1()", text)
    text = re.sub(r"(Annotated\[(\w+), Field\(.*), validate_default=True\)\] = \{\}", r"\1)] = \2()", text)
    return _ruff("format", _ruff("check", text, "--select=I", "--fix-only", "--exit-zero", "--quiet"))


def _ruff(command: str, text: str, *flags: str) -> str:
    """What ruff makes of the text, under the repository's own settings."""
    arguments = [_tool("ruff"), command, *flags, f"--stdin-filename={OUTPUT}", "-"]
    return subprocess.run(arguments, input=text, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def _tool(name: str) -> str:
    """The command of this Python's environment."""
    return str(Path(sys.executable).with_name(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when it is out of date")
    check = parser.parse_args().check
    text = generate()
    if not check:
        OUTPUT.write_text(text)
    elif not OUTPUT.exists() or OUTPUT.read_text() != text:
        sys.exit(f"{OUTPUT.relative_to(ROOT)} differs from {CRD.relative_to(ROOT)}: run `make generate`")


if __name__ == "__main__":
    main()
