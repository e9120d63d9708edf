"""Quantities of Kubernetes (500m, 1.5, 2Gi) as exact numbers."""

import re
from decimal import Decimal

_GRAMMAR = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?")
# As in the CRD. Python writes no number of more than 4300 digits, and no quantity needs them.
_LONGEST = 64
_DECIMAL_EXPONENT = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def parse_quantity(value: int | str) -> Decimal:
    """The quantity in its base unit: CPUs, bytes, pieces.

    Raises ValueError where the text is no quantity, a negative one, or longer than any that is meant.
    """
    text = str(value)
    match = _GRAMMAR.fullmatch(text)
    if match is None or len(text) > _LONGEST:
        raise ValueError(f"{text!r} is not a quantity")
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix.endswith("i"):
        return number * Decimal(1024) ** ("KMGTPE".index(suffix[0]) + 1)
    if len(suffix) > 1:
        return number.scaleb(int(suffix[1:]))
    return number.scaleb(_DECIMAL_EXPONENT.get(suffix, 0))
