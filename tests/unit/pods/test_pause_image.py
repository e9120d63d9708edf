"""The archive that containerd imports as the image of every pod's sandbox."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

from cluster.pause_image import NAME, write_pause_image


def read(archive: tarfile.TarFile, name: str) -> bytes:
    entry = archive.extractfile(name)
    assert entry is not None
    return entry.read()


def test_the_image_holds_one_program_and_starts_it_as_a_pause(tmp_path: Path) -> None:
    program, archive = tmp_path / "catatonit", tmp_path / "pause.tar"
    program.write_bytes(b"a static program")
    write_pause_image(program, archive)
    with tarfile.open(archive) as image:
        [manifest] = json.loads(read(image, "manifest.json"))
        config = json.loads(read(image, manifest["Config"]))
        [layer] = [read(image, name) for name in manifest["Layers"]]
    assert manifest["RepoTags"] == [NAME]
    assert config["config"]["Entrypoint"] == ["/catatonit", "-P"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as root:
        assert [(entry.name, entry.mode) for entry in root] == [("catatonit", 0o755)]
