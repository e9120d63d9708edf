"""Reads a GGUF file's metadata by key."""

from __future__ import annotations

from typing import Any

from gguf import GGUFReader


def field(reader: GGUFReader, key: str) -> Any:
    """The value of one metadata key; raises ValueError when the file lacks it."""
    found = reader.get_field(key)
    if found is None:
        raise ValueError(f"{key} is missing in the GGUF file; the file is not one that this release can convert")
    return found.contents()
