"""A rule that no single field's type can say."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from outrider_operator.api.document import Path

ROLES = ("target", "draft")


@dataclass(frozen=True)
class Rule:
    """A rule over the valid, typed value at each of `paths`."""

    paths: tuple[Path, ...]
    holds: Callable[[Any], bool]
    message: str
    shown_at: Path = ()  # below the path: the field that a person would change
    has_cel_twin: bool = True
