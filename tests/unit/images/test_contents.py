"""An image's archive as the tests of images read it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

from cluster.images_contents import read

SETTINGS = {"User": "1001:0", "Labels": {"version": "1"}}


def packed(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def write(archive: Path, *layers: Mapping[str, bytes]) -> None:
    names = [f"{index}.tar" for index in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["registry/a:1"], "Layers": names}]
    files = dict(zip(names, map(packed, layers), strict=True))
    files |= {"config.json": json.dumps({"config": SETTINGS}).encode(), "manifest.json": json.dumps(manifest).encode()}
    archive.write_bytes(packed(files))


def test_files_are_those_that_a_container_sees_and_layers_what_each_adds(tmp_path: Path) -> None:
    base = {"./etc/passwd": b"root", "usr/bin/cc": b"compiler", "opt/a/old": b"12"}
    more = {"opt/a/new": b"12345", "opt/ab": b"1", "etc/passwd": b"other", "usr/bin/.wh.cc": b""}
    write(tmp_path / "image.tar", base, more)
    contents = read(tmp_path / "image.tar")
    assert contents.tags == ("registry/a:1",)
    assert contents.settings == SETTINGS
    assert set(contents.files) == {"etc/passwd", "opt/a/old", "opt/a/new", "opt/ab"}
    assert contents.files["etc/passwd"].size == len(b"other")
    assert contents.layers_bytes == (14, 11)
    assert contents.total_bytes == 25
    assert set(contents.below("opt/a", "etc")) == {"opt/a/old", "opt/a/new", "etc/passwd"}
