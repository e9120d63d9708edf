"""By what an image's archive is known, and what its build is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import images
from cluster.errors import NoCluster
from cluster.images_buildah import Buildah
from cluster.images_recipe import RECIPES, Recipe

BASE = "localhost/base:1"
PYPROJECT = """
[build-system]
requires = ["builder==1"]

[project]
version = "1.2.3"
dependencies = ["torch>=2"]

[project.optional-dependencies]
s3 = ["boto3"]
plot = ["matplotlib"]

[project.scripts]
serve = "package.main:main"
"""

# `buildah … push … IMAGE docker-archive:FILE:TAG`, and nothing else that it does.
SAVE = """
for last; do :; done
case "$last" in docker-archive:*)
  last="${last#docker-archive:}"
  echo image > "${last%%:*}"
esac
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    package = tmp_path / "serving" / "package"
    package.mkdir(parents=True)
    (package / "main.py").write_text("main = print")
    (tmp_path / "serving" / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "serving" / "Containerfile").write_text("FROM base")
    (tmp_path / "constraints.txt").write_text("python-dateutil==4.0.0\ntorch==2.13.0\n")
    (tmp_path / "LICENSE").write_text("free")
    (tmp_path / ".containerignore").write_text("**/__pycache__")
    return Recipe("served", "serving", extras=("s3",), root=tmp_path)


def test_it_is_built_anew_when_anything_has_changed_that_is_in_it(recipe: Recipe) -> None:
    def changed(name: str) -> str:
        path = recipe.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(path.read_text() + "\n# more" if path.exists() else "new")
        return recipe.digest(BASE)

    digests = [recipe.digest(BASE), recipe.digest(BASE)]
    assert digests[0] == digests[1]
    digests += [changed(f"serving/{name}") for name in ("package/main.py", "package/other.py", "Containerfile")]
    digests += [changed("serving/pyproject.toml"), changed("constraints.txt"), recipe.digest("localhost/base:2")]
    (recipe.root / "serving/package/other.py").rename(recipe.root / "serving/package/another.py")
    digests.append(recipe.digest(BASE))
    assert len(set(digests)) == len(digests) - 1


@pytest.mark.parametrize("name", ["package/__pycache__/main.pyc", "hack/generate.py", "package/protocol/outrider/a.py"])
def test_what_tools_leave_is_not_in_it(recipe: Recipe, name: str) -> None:
    before = recipe.digest(BASE)
    left = recipe.root / "serving" / name
    left.parent.mkdir(parents=True)
    left.write_text("anything")
    assert recipe.digest(BASE) == before


def test_pip_is_asked_for_what_runs_what_builds_and_the_extras(recipe: Recipe) -> None:
    assert recipe.requirements == ("builder==1", "torch>=2", "boto3")
    assert recipe.pins == ("torch==2.13.0",)
    assert Recipe("served", "serving", root=recipe.root).pins == ("python-dateutil==4.0.0", "torch==2.13.0")
    assert (recipe.tag, recipe.commands) == ("served:1.2.3", frozenset({"serve"}))


@pytest.mark.parametrize("look", [lambda each: each.name, lambda each: each.tag], ids=["name", "tag"])
def test_ours_are_two_images_of_one_version(look: Callable[[Recipe], str]) -> None:
    operator, serving = (look(each) for each in RECIPES)
    assert operator.replace("operator", "serving") == serving


@pytest.mark.parametrize("edited", [True, False])
def test_an_archive_has_the_name_of_just_the_files_that_are_in_it(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: bool
) -> None:
    """While the image is built somebody writes a line, or nobody does."""
    tool = tmp_path / "bin" / "buildah"
    tool.parent.mkdir()
    edit = f"echo '# more' >> {recipe.root / 'serving' / 'package' / 'main.py'}" if edited else ""
    tool.write_text(f"#!/bin/sh\n{edit}\n{SAVE}")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    monkeypatch.setattr(images, "base_name", lambda: BASE)
    monkeypatch.setattr(images, "folder", lambda: tmp_path)
    archive = tmp_path / f"served-{recipe.digest(BASE)}.tar"
    if edited:
        with pytest.raises(NoCluster, match=r"files of served:1\.2\.3 were changed"):
            images.build_one(Buildah(tmp_path / "buildah"), recipe, tmp_path, archive)
    else:
        images.build_one(Buildah(tmp_path / "buildah"), recipe, tmp_path, archive)
    assert archive.exists() is not edited
