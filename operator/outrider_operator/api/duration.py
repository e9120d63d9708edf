"""Durations as the resource writes them: 50ms, 1.5s, 200us."""

import re

_GRAMMAR = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s)")
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def parse_duration_ms(text: str) -> float:
    """The duration in milliseconds. Raises ValueError where the text is no duration."""
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration")
    return float(match[1]) * _MILLISECONDS[match[2]]
