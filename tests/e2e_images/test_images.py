"""The images as they were built: who may run what in them, what was left in them, and what they take.

That they run, and under which UIDs, the pods of the cluster tests show.
"""

from __future__ import annotations

import pytest
from cluster.images_contents import Contents
from cluster.images_recipe import RECIPES, Recipe

OURS = ("opt", "licenses")
COMPILERS = ("cc", "gcc", "g++", "c++", "clang", "ld", "as", "make")
GROUP_READS, GROUP_ENTERS, NOT_THE_OWNER_WRITES, SETUID_OR_SETGID = 0o040, 0o010, 0o022, 0o6000
MIB = 2**20

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(params=RECIPES, ids=lambda recipe: recipe.name)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    found = request.param
    assert isinstance(found, Recipe)
    return found


@pytest.fixture
def image(images: dict[str, Contents], recipe: Recipe) -> Contents:
    return images[recipe.name]


def test_any_uid_of_group_0_may_read_all_of_it_and_change_nothing(image: Contents) -> None:
    for path, file in image.below(*OURS).items():
        if file.issym():
            continue
        assert file.gid == 0, path
        assert file.mode & GROUP_READS, path
        assert not file.mode & NOT_THE_OWNER_WRITES, path
        assert not file.mode & SETUID_OR_SETGID, path
        if file.isdir():
            assert file.mode & GROUP_ENTERS, path


def test_it_runs_as_nobody_in_particular_and_writes_to_no_folder_of_its_own(image: Contents) -> None:
    assert image.settings["User"] == "1001:0"
    environment = dict(each.split("=", 1) for each in image.settings["Env"])
    assert environment["HOME"] == "/tmp"
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert "Healthcheck" not in image.settings
    assert not image.settings.get("Volumes")


def test_every_command_is_on_the_path(image: Contents, recipe: Recipe) -> None:
    environment = dict(each.split("=", 1) for each in image.settings["Env"])
    assert environment["PATH"].startswith("/opt/program/bin:/opt/outrider/bin:/usr")
    for command in recipe.commands:
        assert image.files[f"opt/program/bin/{command}"].mode & GROUP_ENTERS, command
    assert any(path.startswith("opt/outrider/bin/python") for path in image.files)


def test_it_says_what_it_is(image: Contents, recipe: Recipe) -> None:
    labels = image.settings["Labels"]
    assert (labels["name"], labels["version"]) == (recipe.name, recipe.version)
    assert image.tags[0].endswith(recipe.tag)
    assert "licenses/LICENSE" in image.files


def test_no_compiler_and_nothing_of_pip_is_left(image: Contents) -> None:
    programs = {path.rpartition("/")[2] for path in image.files if "/bin/" in f"/{path}"}
    assert not programs.intersection(COMPILERS)
    ours = image.below("opt")
    assert not [path for path in ours if path.endswith(("/site-packages/pip", "/bin/pip"))]
    assert not [path for path in image.files if path.startswith(("root/.cache/", "build/", "wheels/", "tmp/"))]
    assert not [path for path in ours if "/torch/include/" in path]


def test_it_starts_without_compiling_what_it_could_not_keep(image: Contents) -> None:
    ours = image.below("opt")
    compiled = {path.replace("/__pycache__/", "/").partition(".cpython-")[0] for path in ours if path.endswith(".pyc")}
    sources = [path for path in ours if path.endswith(".py")]
    missing = [path for path in sources if path.removesuffix(".py") not in compiled]
    assert len(sources) > 1000
    assert not [path for path in missing if path.startswith("opt/program/")]
    assert len(missing) < 0.01 * len(sources), "templates that are no Python by themselves are few"


def test_another_version_of_our_code_is_a_small_layer_over_the_same_large_one(image: Contents) -> None:
    *_, dependencies, program, licence = image.layers_bytes
    assert program + licence < 20 * MIB
    assert dependencies > 5 * program
