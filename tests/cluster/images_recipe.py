"""What an image is built from, and by what its archive is known: while nothing of it changes, it is not built anew."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CONSTRAINTS = "constraints.txt"
SHARED = (CONSTRAINTS, "LICENSE", ".containerignore")
# What tools leave in the folders, and what is made anew in the build.
LEFT_OUT = ("__pycache__", "hack", "protocol/outrider")


@dataclass(frozen=True)
class Recipe:
    """An image of one of the two distributions. folder: its own, below the root. extras: those of it that are in."""

    name: str
    folder: str
    extras: tuple[str, ...] = ()
    root: Path = ROOT

    @property
    def containerfile(self) -> Path:
        return self.root / self.folder / "Containerfile"

    @property
    def version(self) -> str:
        return str(self._project["version"])

    @property
    def tag(self) -> str:
        """As pods name it."""
        return f"{self.name}:{self.version}"

    @property
    def commands(self) -> frozenset[str]:
        """Those that the image has to have."""
        return frozenset(self._project["scripts"])

    @property
    def requirements(self) -> tuple[str, ...]:
        """What pip is asked for while the image is built: what runs, and what builds the distribution itself."""
        more = [each for extra in self.extras for each in self._project["optional-dependencies"][extra]]
        return (*self._content["build-system"]["requires"], *self._project["dependencies"], *more)

    @property
    def pins(self) -> tuple[str, ...]:
        """What of constraints.txt holds for it: an S3 client wants another python-dateutil than the operator."""
        lines = (self.root / CONSTRAINTS).read_text(encoding="utf-8").splitlines()
        return tuple(line for line in lines if not ("s3" in self.extras and line.startswith("python-dateutil==")))

    def digest(self, base: str) -> str:
        """Of all that it is made of, on this base."""
        made_of = hashlib.sha256(base.encode())
        for path in self._files():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            made_of.update(f"{path.relative_to(self.root)} {content}\n".encode())
        return made_of.hexdigest()[:12]

    def _files(self) -> Iterator[Path]:
        yield from (self.root / name for name in SHARED)
        for path in sorted((self.root / self.folder).rglob("*")):
            inside = f"/{path.relative_to(self.root).as_posix()}/"
            if path.is_file() and not any(f"/{name}/" in inside for name in LEFT_OUT):
                yield path

    @property
    def _content(self) -> dict[str, Any]:
        return tomllib.loads((self.root / self.folder / "pyproject.toml").read_text(encoding="utf-8"))

    @property
    def _project(self) -> dict[str, Any]:
        project: dict[str, Any] = self._content["project"]
        return project


RECIPES = (Recipe("outrider-operator", "operator"), Recipe("outrider-serving", "serving", extras=("s3",)))
