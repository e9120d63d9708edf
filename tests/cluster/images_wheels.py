"""The wheels that the images' builds install: got here, by pip as this machine has it configured. The builds themselves
reach no network, and know nothing of indexes, mirrors and certificates.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.errors import NoCluster
from cluster.images_recipe import Recipe

# Where a step finds them, and what tells pip so.
PLACE = "/wheels"
ARGUMENTS = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": PLACE}


def get_wheels(folder: Path, recipes: Sequence[Recipe]) -> Path:
    """The folder with all of them; those of earlier requirements are removed. Raises NoCluster."""
    wanted = [f"{sys.version_info.major}.{sys.version_info.minor}"]
    for recipe in recipes:
        wanted += [*recipe.requirements, *recipe.pins]
    house = folder / f"wheels-{hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]}"
    if house.is_dir():
        return house
    for old in folder.glob("wheels-*"):
        shutil.rmtree(old)
    partial = folder / f".{house.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for recipe in recipes:
        _fetch(recipe, partial)
    partial.rename(house)
    return house


def _fetch(recipe: Recipe, into: Path) -> None:
    """One after the other: what two distributions want need not go together."""
    pins = into / "pins.txt"
    pins.write_text("\n".join(recipe.pins), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", f"--wheel-dir={into}", f"--constraint={pins}"]
    done = subprocess.run([*command, *recipe.requirements], capture_output=True, text=True, check=False)
    pins.unlink()
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        raise NoCluster(f"pip wheel for {recipe.name} failed: {last[0]}; see whether pip finds packages here")
