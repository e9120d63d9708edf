"""What both Containerfiles promise, as they are written; that the images keep it, tests/e2e_images checks."""

from __future__ import annotations

import re

import pytest
from cluster.images_recipe import RECIPES, Recipe
from cluster.images_wheels import ARGUMENTS

Instruction = tuple[str, str]


def stages(recipe: Recipe) -> list[list[Instruction]]:
    """The instructions of each stage, and first those before any."""
    lines = [line for line in recipe.containerfile.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found: list[list[Instruction]] = [[]]
    for line in joined.splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            if name == "FROM":
                found.append([])
            found[-1].append((name, rest.strip()))
    return found


def said(stage: list[Instruction], name: str) -> list[str]:
    return [rest for known, rest in stage if known == name]


ours = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)


@ours
def test_its_base_is_an_argument_and_by_itself_a_python_of_ubi_9(recipe: Recipe) -> None:
    before, *built = stages(recipe)
    [base] = said(before, "ARG")
    assert re.fullmatch(r"BASE=\S+/ubi9/python-3\d+-minimal:latest", base)
    assert [said(stage, "FROM") for stage in built] == [
        ["${BASE} AS dependencies"],
        ["dependencies AS program"],
        ["${BASE}"],
    ]


@ours
def test_a_change_of_our_code_leaves_what_it_stands_on_as_it_was(recipe: Recipe) -> None:
    _, dependencies, program, last = stages(recipe)
    assert said(dependencies, "COPY") == [f"constraints.txt {recipe.folder}/pyproject.toml ./"]
    assert said(program, "COPY") == [f"{recipe.folder} {recipe.folder}"]
    assert said(last, "COPY") == [
        "--from=dependencies /opt/outrider /opt/outrider",
        "--from=program /opt/program /opt/program",
        "LICENSE /licenses/LICENSE",
    ]


@ours
def test_what_runs_is_nobody_in_particular_and_is_left_as_it_was_copied(recipe: Recipe) -> None:
    *_, last = stages(recipe)
    assert said(last, "USER") == ["1001:0"], "a number, which Kubernetes can see not to be root, and group 0"
    assert not said(last, "RUN") + said(last, "ADD") + said(last, "HEALTHCHECK") + said(last, "VOLUME")


@ours
def test_every_stage_that_runs_pip_may_be_told_where_packages_come_from(recipe: Recipe) -> None:
    running = [stage for stage in stages(recipe) if any("pip/bin/pip" in command for command in said(stage, "RUN"))]
    assert len(running) == 2
    for stage in running:
        known = {each.partition("=")[0] for each in said(stage, "ARG")}
        assert known >= {"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", *ARGUMENTS}


@ours
def test_labels_say_what_it_is_and_of_which_version(recipe: Recipe) -> None:
    *_, last = stages(recipe)
    assert f"VERSION={recipe.version}" in said(last, "ARG")
    [labels] = said(last, "LABEL")
    written = dict(re.findall(r'(\S+)="([^"]*)"', labels))
    assert written["name"] == written["org.opencontainers.image.title"] == recipe.name
    assert written["version"] == written["org.opencontainers.image.version"] == "${VERSION}"
    assert all(written[name] for name in ("vendor", "summary", "description", "org.opencontainers.image.licenses"))


@ours
def test_the_pins_of_the_tests_wheels_are_those_of_the_build(recipe: Recipe) -> None:
    dropped = {"python-dateutil"} if recipe.extras else set()
    runs = " ".join(said(stages(recipe)[1], "RUN"))
    assert set(re.findall(r"grep -v '\^([\w-]+)=='", runs)) == dropped
    everything = (recipe.root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert {line.partition("==")[0] for line in everything if line not in recipe.pins} == dropped
