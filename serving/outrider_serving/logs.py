"""Logs: one JSON object an event on standard error. Never a prompt, an answer, a key or what an exception says, which
may be one of them.
"""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path

import structlog

FRAMES_LOGGED = 8  # of torch and transformers alone some are in between where we call and where it fails


def failure(error: BaseException) -> dict[str, object]:
    """What a log says of an exception: its kind, and where it was raised, the innermost call last."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_LOGGED:]
    where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return {"error": type(error).__name__, "where": where}


def configure(role: str) -> None:
    """Sends every log line of the process through one renderer, the libraries' own included."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        _without_exception,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        # Probes and scrapes, several a second, are debug.
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(role=role)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _without_exception(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Puts the kind and place of an exception where it was."""
    error = _exception(event.pop("exc_info", None))
    if error is None:
        return event
    # asyncio adds lines to it that hold the exception once more, as a task shows it.
    event["event"] = next(iter(str(event["event"]).strip().splitlines()), "")
    return {**event, **failure(error)}


def _exception(exc_info: object) -> BaseException | None:
    """The exception that logging was given, in any of the ways that it takes one."""
    given = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if isinstance(given, BaseException):
        return given
    return sys.exception() if exc_info is True else None
