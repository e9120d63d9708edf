"""What is in an image's archive: its settings, its files as a container sees them, and what each layer takes."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GONE = ".wh."


@dataclass(frozen=True)
class Contents:
    """files: by path from the root, without a slash before it. layers_bytes: from the base up, of the files in each."""

    tags: tuple[str, ...]
    settings: dict[str, Any]
    files: dict[str, tarfile.TarInfo]
    layers_bytes: tuple[int, ...]

    @property
    def total_bytes(self) -> int:
        return sum(self.layers_bytes)

    def below(self, *folders: str) -> dict[str, tarfile.TarInfo]:
        """The files of these folders, and the folders themselves."""
        return {
            path: file
            for path, file in self.files.items()
            if any(path == folder or path.startswith(f"{folder}/") for folder in folders)
        }


def read(archive: Path) -> Contents:
    """Of the one image in a docker archive."""
    with tarfile.open(archive) as outer:
        [manifest] = json.loads(_content(outer, "manifest.json"))
        config = json.loads(_content(outer, manifest["Config"]))
        files: dict[str, tarfile.TarInfo] = {}
        sizes = []
        for name in manifest["Layers"]:
            layer = _layer(outer, name)
            for path in [path for path in layer if path.rpartition("/")[2].startswith(GONE)]:
                folder, slash, gone = path.rpartition("/")
                files.pop(f"{folder}{slash}{gone.removeprefix(GONE)}", None)
                del layer[path]
            files |= layer
            sizes.append(sum(file.size for file in layer.values()))
    return Contents(tuple(manifest["RepoTags"]), config["config"], files, tuple(sizes))


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    found = archive.extractfile(name)
    assert found is not None, f"{name} is no file"
    return found.read()


def _layer(outer: tarfile.TarFile, name: str) -> dict[str, tarfile.TarInfo]:
    found = outer.extractfile(name)
    assert found is not None, f"{name} is no file"
    with tarfile.open(fileobj=found) as layer:
        return {member.name.removeprefix("./").strip("/"): member for member in layer}
