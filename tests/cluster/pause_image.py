"""The image of a pod's sandbox: one static program that waits. Written as an archive that containerd imports."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

NAME = "outrider-pause:1"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_pause_image(catatonit: Path, archive: Path) -> None:
    """A docker archive whose entry point is catatonit in its pause mode."""
    layer = _tar({"catatonit": catatonit.read_bytes()}, mode=0o755)
    config = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": ["/catatonit", "-P"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    content = {"config.json": _json(config), "layer.tar": layer, "manifest.json": _json(manifest)}
    archive.write_bytes(_tar(content, mode=0o644))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _tar(files: dict[str, bytes], mode: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
