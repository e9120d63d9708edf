"""How the servers' command lines end: one line on standard error for a person, never a traceback."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

import typer
from typer.exceptions import TyperException


class FlagError(ValueError):
    """A flag has a value that cannot work. The message says what is wrong and what to do."""

    def __init__(self, flag: str, message: str) -> None:
        super().__init__(f"{flag}: {message}")


def run(app: typer.Typer, program: str) -> NoReturn:
    """Runs a command line; exits 2 with one line for bad input."""
    # In a container this is process 1, which ignores SIGTERM unless told otherwise: a pod that is deleted while its
    # model loads would hold its GPU until it is killed. Who serves takes the signal over.
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    try:
        code = app(prog_name=program, standalone_mode=False)
    except TyperException as error:
        message = error.format_message().rstrip(".")
        _fail(program, f"{message}{'' if message.endswith('?') else ';'} see `{program} --help`")
    except FlagError as error:
        _fail(program, str(error))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(program: str, message: str) -> NoReturn:
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
