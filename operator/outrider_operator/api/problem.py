"""One thing that is wrong with a resource, told in one line."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """Where and what: `model.yaml:9:5: spec.target.maxModelLen: 4 is too small; use at least 16`."""

    source: str  # the file's name as it was given
    line: int  # from 1
    column: int  # from 1
    field: str  # dotted path, empty where the whole document is meant
    message: str  # what is wrong, and the remedy

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        return f"{self.source}:{self.line}:{self.column}: {field}{self.message}"


class UnreadableError(Exception):
    """There is no YAML to check: the message is one line with the file, the reason and the remedy."""


class InvalidResourceError(Exception):
    """The resource breaks the API's rules. str() is one line for each problem."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems
