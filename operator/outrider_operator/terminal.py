"""How every command reads resource files and tells a person of errors: a line each."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from outrider_operator.api.problem import Problem, UnreadableError
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.api.validation import LARGEST_FILE_BYTES, Checked, check, decode, read_text

INVALID = 1  # the resource breaks a rule
UNUSABLE = 2  # nothing to work on: no file, no YAML, a flag that is wrong

STDIN = "-"
# Wider than any table: in a pipe no line is broken.
PIPE_COLUMNS = 100_000


def program() -> str:
    """What this was called as: kubectl runs `kubectl-outrider` for `kubectl outrider`."""
    return "kubectl outrider" if Path(sys.argv[0]).name.startswith("kubectl-") else "outrider"


def examples(*commands: str) -> str:
    """The end of a command's help. \\b: without it the help would wrap the examples into one paragraph."""
    return "\b\nExamples:\n" + "\n".join(f"  {program()} {command}" for command in commands)


def console(stderr: bool = False) -> Console:
    """A console that never breaks a line: colours in a terminal, plain text in a pipe or under NO_COLOR."""
    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)


def redraws(out: Console) -> bool:
    """Whether what is shown there can be drawn over: rich shows nothing of a live table in a dumb terminal."""
    return out.is_terminal and not out.is_dumb_terminal


def show(made: RenderableType) -> None:
    """Prints a table: broken to the terminal's width there, and as wide as it is in a pipe."""
    out = console()
    if out.is_terminal:
        out.print(made)
        return
    out.width = PIPE_COLUMNS
    with out.capture() as printed:
        out.print(made)
    typer.echo("\n".join(line.rstrip() for line in printed.get().splitlines()))


def show_error(message: str) -> None:
    """One line on standard error."""
    console(stderr=True).print(Text.assemble((f"{program()}: error:", "bold red"), f" {message}"))


def fail(message: str, code: int = UNUSABLE) -> NoReturn:
    """Ends the command with one line on standard error."""
    show_error(message)
    raise typer.Exit(code)


def read_checked(file: Path) -> Checked:
    """What a file, or standard input where it is called `-`, holds. Raises UnreadableError."""
    if str(file) == STDIN:
        return check(decode(_read_stdin(), "<stdin>"), "<stdin>")
    return check(read_text(file), str(file))


def _read_stdin() -> bytes:
    """One byte more than a resource may have, as of a file. Raises UnreadableError."""
    remedy = "pipe a resource in, or name a file"
    if sys.stdin is None:  # Python's own word for one that is closed
        raise UnreadableError(f"<stdin>: is closed; {remedy}")
    try:
        return sys.stdin.buffer.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise UnreadableError(f"<stdin>: {error.strerror or error}; {remedy}") from None


def read_models(file: Path) -> list[SpeculativeModel]:
    """The models of a file, or the end of the command with everything that is wrong with it."""
    try:
        checked = read_checked(file)
    except UnreadableError as error:
        fail(str(error))
    if checked.problems:
        show_problems(checked.problems)
        raise typer.Exit(INVALID)
    return checked.models


def show_problems(problems: Sequence[Problem]) -> None:
    """One line each on standard error, the place in red."""
    errors = console(stderr=True)
    for problem in problems:
        place = f"{problem.source}:{problem.line}:{problem.column}:"
        errors.print(Text.assemble((place, "bold red"), str(problem).removeprefix(place)))
