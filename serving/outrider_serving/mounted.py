"""Folders in which Kubernetes keeps a Secret: its files are replaced while a process runs, all at once."""

from __future__ import annotations

from pathlib import Path

# The link to the folder that holds the files as they are now; each file is a link through it.
CURRENT = "..data"


def snapshot(folder: Path) -> Path:
    """Where to read files that belong together: two reads through the folder itself may meet a replacement."""
    current = folder / CURRENT
    return current.resolve() if current.is_symlink() else folder


def why(error: OSError) -> str:
    """The system's own word for it, without the path, which the reader of a flag knows."""
    return error.strerror or type(error).__name__
