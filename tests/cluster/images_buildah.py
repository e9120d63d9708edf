"""buildah with a storage of its own: images from Containerfiles, and archives of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cluster.errors import NoCluster

# Only what is made here is ever used, so there is no signature to ask for.
POLICY = {"default": [{"type": "insecureAcceptAnything"}]}
# Neither a daemon nor an overlay nor a container runtime: what works wherever root may mount.
ISOLATION, DRIVER = "chroot", "vfs"


class Buildah:
    """folder: where its layers and its logs are kept. Nothing is pulled."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        policy = folder / "policy.json"
        policy.write_text(json.dumps(POLICY), encoding="utf-8")
        self._policy = f"--signature-policy={policy}"
        storage = [f"--root={folder / 'storage'}", f"--runroot={folder / 'run'}", f"--storage-driver={DRIVER}"]
        self._command = ["buildah", *storage]
        self._env = {**os.environ, "BUILDAH_ISOLATION": ISOLATION, "STORAGE_DRIVER": DRIVER}

    def has(self, image: str) -> bool:
        found = subprocess.run(
            [*self._command, "inspect", "--type=image", image], env=self._env, capture_output=True, check=False
        )
        return found.returncode == 0

    def build(
        self,
        image: str,
        containerfile: Path,
        context: Path,
        arguments: Mapping[str, str] | None = None,
        volumes: Mapping[Path, str] | None = None,
        stage: str | None = None,
    ) -> None:
        """Builds it, or a stage of it; steps whose input has not changed are taken from what is kept.

        arguments: --build-arg. volumes: folders, and where steps find them, to be read. Raises NoCluster.
        """
        self._run(
            f"build-{image.rpartition('/')[2].partition(':')[0]}",
            "build",
            "--layers",
            "--pull=never",
            self._policy,
            f"--file={containerfile}",
            f"--tag={image}",
            *([] if stage is None else [f"--target={stage}"]),
            *(f"--build-arg={name}={value}" for name, value in (arguments or {}).items()),
            *(f"--volume={folder}:{place}:ro" for folder, place in (volumes or {}).items()),
            str(context),
        )

    def save(self, image: str, archive: Path, tag: str) -> None:
        """Writes the image, as `tag`, to a docker archive, which is there once it is whole. Raises NoCluster."""
        partial = archive.with_name(f"{archive.name}.partial")
        partial.unlink(missing_ok=True)  # it would be added to
        self._run("push", "push", self._policy, image, f"docker-archive:{partial}:{tag}")
        partial.replace(archive)

    def forget(self, image: str) -> None:
        """Gives back its place, and that of steps that no named image stands on. What cannot go now goes later."""
        for removal in (["rmi", image], ["rmi", "--prune"]):
            subprocess.run([*self._command, *removal], env=self._env, capture_output=True, check=False)

    def _run(self, log: str, *arguments: str) -> None:
        path = self._folder / f"{log}.log"
        with path.open("wb") as output:
            done = subprocess.run(
                [*self._command, *arguments],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            last = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] or ["no output"]
            raise NoCluster(f"buildah {arguments[0]} failed: {last[0]}; {path} has all that it said")
