"""YAML that kubectl reads as it was meant."""

from collections.abc import Sequence
from typing import Any

import yaml

from outrider_operator.api.document import NO_TEXT


class _Dumper(yaml.SafeDumper):
    """Quotes the text that kubectl would not read as text (08, 1e3, y), and writes equal parts out in full."""

    def ignore_aliases(self, _data: object) -> bool:
        return True  # anchors and aliases are hard to read and to edit


for _resolver in NO_TEXT:
    _Dumper.add_implicit_resolver(*_resolver)


def to_yaml(documents: Sequence[Any]) -> str:
    """The documents as one YAML text, fields in their order."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=200)
