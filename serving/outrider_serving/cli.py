"""How the servers' command lines end: one line on standard error for a person, never a traceback."""

from __future__ import annotations

import sys
from typing import NoReturn

import click
import typer


class FlagError(ValueError):
    """A flag has a value that cannot work. The message says what is wrong and what to do."""

    def __init__(self, flag: str, message: str) -> None:
        super().__init__(f"{flag}: {message}")


def run(app: typer.Typer, program: str) -> NoReturn:
    """Runs a command line; exits 2 with one line for bad input."""
    try:
        code = app(prog_name=program, standalone_mode=False)
    except click.ClickException as error:
        _fail(program, error.format_message())
    except FlagError as error:
        _fail(program, str(error))
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(program: str, message: str) -> NoReturn:
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
