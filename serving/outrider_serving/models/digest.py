"""What a source says of a file's content, and whether the file that arrived has it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 20


class Kind(StrEnum):
    SHA256 = "sha256"
    GIT = "git"  # SHA-1 behind git's header: a hub's small files
    MD5 = "md5"  # a bucket's ETag of what was put in one piece
    MD5_OF_PARTS = "md5 of parts"  # a bucket's ETag of what was put in parts: the MD5 of their MD5s


@dataclass(frozen=True)
class Digest:
    """A digest in hexadecimal; part_bytes: of MD5_OF_PARTS, the size of each part but the last."""

    kind: Kind
    hex: str
    part_bytes: int = 0

    def matches(self, path: Path) -> bool:
        """Whether the file at `path` is the one that was announced; reads all of it."""
        with path.open("rb") as file:
            if self.kind is Kind.MD5_OF_PARTS:
                return _md5_of_parts(file, self.part_bytes) == self.hex
            digest = hashlib.sha256() if self.kind is Kind.SHA256 else hashlib.md5(usedforsecurity=False)
            if self.kind is Kind.GIT:
                digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
            return hashlib.file_digest(file, lambda: digest).hexdigest() == self.hex


def sha256(path: Path) -> str:
    """The file's, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.sha256).hexdigest()


def _md5_of_parts(file: BinaryIO, part_bytes: int) -> str:
    whole = hashlib.md5(usedforsecurity=False)
    while first := file.read(min(CHUNK_BYTES, part_bytes)):
        part = hashlib.md5(first, usedforsecurity=False)
        left_bytes = part_bytes - len(first)
        while left_bytes and (chunk := file.read(min(CHUNK_BYTES, left_bytes))):
            part.update(chunk)
            left_bytes -= len(chunk)
        whole.update(part.digest())
    return whole.hexdigest()
