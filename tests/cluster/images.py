"""Both images as archives, built on Debian's packages and kept as long as nothing changes: ten minutes at first, one or
two where only our own code has changed. `python -m cluster.images` says where they are and what they take.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from cluster import images_contents
from cluster.assets import cache_root
from cluster.errors import NoCluster
from cluster.images_base import base_name, ensure_base, install_tools
from cluster.images_buildah import Buildah
from cluster.images_recipe import RECIPES, Recipe
from cluster.images_wheels import ARGUMENTS, PLACE, get_wheels

STAGE = "dependencies"
MIB = 2**20


def folder() -> Path:
    """Where they are kept, with all that their builds need."""
    return cache_root() / "images"


def image_archives() -> list[Path]:
    """The operator's image and that of draft and target, as docker archives. Raises NoCluster."""
    archives = {recipe: _archive(recipe) for recipe in RECIPES}
    missing = {recipe: archive for recipe, archive in archives.items() if not archive.is_file()}
    if missing:
        _build(missing)
    return list(archives.values())


def _archive(recipe: Recipe) -> Path:
    return folder() / f"{recipe.name}-{recipe.digest(base_name())}.tar"


def _build(missing: Mapping[Recipe, Path]) -> None:
    install_tools()
    buildah = Buildah(folder() / "buildah")
    _say(f"the base, {base_name()}")
    ensure_base(buildah)
    _say("wheels")
    wheels = get_wheels(folder(), RECIPES)
    for recipe, archive in missing.items():
        _say(recipe.tag)
        build_one(buildah, recipe, wheels, archive)


def build_one(buildah: Buildah, recipe: Recipe, wheels: Path, archive: Path) -> None:
    """The stage that takes long has a name of its own, by which it outlives the image. Raises NoCluster where somebody
    edits what the image is made of meanwhile: an archive has the name of just the files that are in it.
    """
    arguments = {"BASE": base_name(), "VERSION": recipe.version, **ARGUMENTS}
    image, standing_on = f"localhost/{recipe.tag}", f"localhost/{recipe.name}-{STAGE}"
    given = (recipe.containerfile, recipe.root, arguments, {wheels: PLACE})
    buildah.build(standing_on, *given, stage=STAGE)
    buildah.build(image, *given)
    if _archive(recipe) != archive:
        raise NoCluster(f"files of {recipe.tag} were changed while it was built; build it again")
    for old in folder().glob(f"{recipe.name}-*.tar"):
        old.unlink()
    buildah.save(image, archive, recipe.tag)
    buildah.forget(image)


def _say(what: str) -> None:
    print(f"images: {what}", file=sys.stderr, flush=True)


def main() -> None:
    try:
        archives = image_archives()
    except NoCluster as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    for archive in archives:
        contents = images_contents.read(archive)
        layers = " + ".join(f"{size / MIB:.0f}" for size in contents.layers_bytes)
        print(f"{contents.tags[0]}: {contents.total_bytes / MIB:.0f} MiB ({layers}) in {archive}")


if __name__ == "__main__":
    main()
