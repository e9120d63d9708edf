"""YAML documents as plain data, with the line and column of every field.

Read as kubectl reads them: a bare Off or n is false, dates stay text and 1e-2 is a number. Duplicate keys are
refused, where a server would silently take the last.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from outrider_operator.api.problem import Problem, UnreadableError

Path = tuple[str | int, ...]
Position = tuple[int, int]  # line and column, from 1

MOST_NODES = 20_000  # of a document: aliases of aliases can stand for billions of nodes
# Of a file, whose nodes take 50 µs each to read: all of 3 MiB would take a minute. 600 models of 150 nodes each fit.
MOST_NODES_OF_FILE = 100_000
LONGEST_INTEGER_BITS = 64

_BOOL = "tag:yaml.org,2002:bool"
_MERGE = "tag:yaml.org,2002:merge"
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


# What kubectl's YAML reads as a truth or a number: y, 08 and 1e-2 too, which the yaml module takes for text.
NO_TEXT = (
    (_BOOL, re.compile(r"[yYnN]$"), list("yYnN")),
    (_INT, re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$"), list("-+0123456789")),
    (
        _FLOAT,
        re.compile(
            r"([-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?"
            r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
        ),
        list("-+.0123456789"),
    ),
)


class _TooMuchError(Exception):
    """More than a resource can hold."""


class _Loader(yaml.SafeLoader):
    """The safe loader with kubectl's idea of truths and numbers, and no dates."""

    bool_values = {**yaml.SafeLoader.bool_values, "y": True, "n": False}  # noqa: RUF012 - yaml's own name and type
    yaml_implicit_resolvers = {  # noqa: RUF012 - yaml's own name and type
        first: [(tag, regexp) for tag, regexp in resolvers if tag not in (_INT, _FLOAT, _TIMESTAMP)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes_left = MOST_NODES_OF_FILE

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Raises _TooMuchError."""
        self._nodes_left -= 1
        if self._nodes_left < 0:
            raise _TooMuchError
        return super().compose_node(parent, index)


for _resolver in NO_TEXT:
    _Loader.add_implicit_resolver(*_resolver)


@dataclass
class Document:
    """One document of a file."""

    source: str
    start: Position
    data: Any = None
    keys: dict[Path, Position] = field(default_factory=dict)  # where a field's name stands
    values: dict[Path, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: Path, message: str, at_key: bool = False) -> Problem:
        """A problem of the field at `path`, at its value or key, or else at the nearest field around."""
        places = [self.keys, self.values] if at_key else [self.values, self.keys]
        for length in range(len(path), -1, -1):
            for place in places:
                if path[:length] in place:
                    line, column = place[path[:length]]
                    return Problem(self.source, line, column, dotted(path), message)
            places = [self.keys, self.values]  # of a field around it, the name says more than where it begins
        return Problem(self.source, *self.start, dotted(path), message)


def dotted(path: Path) -> str:
    """The path as people write it: spec.target.model, status.conditions[0].type, limits["nvidia.com/gpu"]."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w-]+", part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part)}]"
    return text


def documents(text: str, source: str) -> Iterator[Document]:
    """The documents of a YAML text that are not empty.

    Raises UnreadableError where the text is not YAML, or is more than a resource can be.
    """
    try:
        loader = _Loader(text)
        while loader.check_node():
            yield from _document(loader, loader.get_node(), source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise UnreadableError(f"{source}{where}: not YAML: {error.problem}; correct the line") from None
    except yaml.YAMLError:
        raise UnreadableError(f"{source}: not YAML: it has control characters; name a text file") from None
    except _TooMuchError:
        raise UnreadableError(
            f"{source}: more than a resource can hold (an alias within itself?); shorten it"
        ) from None
    except RecursionError:
        raise UnreadableError(f"{source}: nested too deeply for a resource; flatten it") from None


def document_of(data: Any) -> Document:
    """Of data that is no text, such as an object of a server. Its fields have places too: their order."""
    document = Document("", (1, 1), data)
    _place(document, data, ())
    return document


def _place(document: Document, data: Any, path: Path) -> None:
    fields = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for name, value in fields:
        inner = (*path, name)
        document.keys[inner] = (1, len(document.keys) + 2)  # the first is the whole's
        _place(document, value, inner)


def _document(loader: _Loader, node: yaml.Node | None, source: str) -> Iterator[Document]:
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return
    document = Document(source, _position(node))
    document.data = _Reader(loader, document).read(node, ())
    yield document


class _Reader:
    """Turns the nodes of one document into data, noting where everything stands."""

    def __init__(self, loader: _Loader, document: Document) -> None:
        self.loader = loader
        self.document = document
        self.nodes_left = MOST_NODES

    def read(self, node: yaml.Node, path: Path) -> Any:
        self.nodes_left -= 1
        if self.nodes_left < 0 or len(path) > 100:
            raise _TooMuchError
        self.document.values.setdefault(path, _position(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            value = self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError):  # the last of !!int "" and !!timestamp x
            value = b""
        if isinstance(value, bytes):  # of !!binary, which no field wants
            self._problem(node, path, f"{node.value!r} does not fit here as {node.tag}; remove the tag")
            return None
        if isinstance(value, int) and value.bit_length() > LONGEST_INTEGER_BITS:
            self._problem(node, path, f"{_shortened(node.value)} is longer than any number here; write a smaller one")
            return None
        if isinstance(value, str) and not _is_whole(value):
            self._problem(node, path, f"{value!r} holds half a character; write the character itself")
            return None
        return value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        data = self._merged(node, path)
        own: set[str] = set()
        for key, value in node.value:
            if key.tag == _MERGE:
                continue
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, path, "a field's name is a single word; write `name: value`")
                continue
            if not _is_whole(key.value):
                self._problem(key, path, f"{key.value!r} holds half a character; write the character itself")
                continue
            inner = (*path, key.value)
            if key.value in own:
                line = self.document.keys[inner][0]
                self._problem(key, inner, f"given twice, first in line {line}; remove one of the two")
                continue
            own.add(key.value)
            self.document.keys[inner] = _position(key)
            self.document.values[inner] = _position(value)
            data[key.value] = self.read(value, inner)
        return data

    def _merged(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        """What `<<: *anchor` brings in. Of several anchors the first wins, over all the mapping itself."""
        data: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for source in reversed(value.value) if isinstance(value, yaml.SequenceNode) else [value]:
                    read = self.read(source, path)
                    data.update(read if isinstance(read, dict) else {})
        return data

    def _problem(self, node: yaml.Node, path: Path, message: str) -> None:
        line, column = _position(node)
        self.document.problems.append(Problem(self.document.source, line, column, dotted(path), message))


def _is_whole(text: str) -> bool:
    """Whether it can be written: \\ud800 is the first half of a character."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:20]}…"


def _position(node: yaml.Node) -> Position:
    return node.start_mark.line + 1, node.start_mark.column + 1
