"""What this machine has: ports, cores, commands, a mirror; and what a log says."""

import asyncio
import os
import pwd
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from outrider_operator.local import log
from outrider_operator.local.cores import machine_cores, spread_over_cores
from outrider_operator.local.errors import LocalError
from outrider_operator.local.mirror import model_mirror
from outrider_operator.local.ports import free_port, port_problem
from outrider_operator.local.process import Process, find_command


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("0.0.0.0", 0))
        listening.listen()
        yield listening


def port_of(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


def test_a_port_in_use_is_told_with_who_has_it(listener: socket.socket) -> None:
    problem = port_problem(port_of(listener))
    assert problem is not None
    assert problem.startswith(f"port {port_of(listener)} is in use by ")
    assert problem.endswith(f"(pid {os.getpid()})")


def test_a_free_port_is_no_problem(listener: socket.socket) -> None:
    port = port_of(listener)
    listener.close()
    assert port_problem(port) is None


def test_the_usual_port_is_taken_when_it_is_free(listener: socket.socket) -> None:
    port = port_of(listener)
    listener.close()
    assert free_port(port, set()) == port


def test_another_port_is_taken_when_the_usual_one_is_not_free(listener: socket.socket) -> None:
    other = free_port(port_of(listener), set())
    assert other != port_of(listener)
    assert port_problem(other) is None


def test_a_port_that_is_promised_already_is_not_given_twice(listener: socket.socket) -> None:
    port = port_of(listener)
    listener.close()
    assert free_port(port, {port}) != port


def test_second_threads_of_a_core_come_last() -> None:
    assert spread_over_cores({0: [0, 1], 1: [0, 1], 2: [2, 3], 3: [2, 3]}) == [0, 2, 1, 3]


def test_cores_without_second_threads_keep_their_order() -> None:
    assert spread_over_cores({5: [5], 3: [3], 4: [4]}) == [3, 4, 5]


def test_the_cores_of_this_machine_are_those_this_process_may_use() -> None:
    assert set(machine_cores()) == os.sched_getaffinity(0)


async def test_a_process_keeps_to_the_cores_it_is_given(tmp_path: Path) -> None:
    core = machine_cores()[-1]
    tell = "import os; print(os.sched_getaffinity(0))"
    process = await Process.start([sys.executable, "-c", tell], os.environ, [core], tmp_path / "log")
    assert await process.wait() == 0
    assert (tmp_path / "log").read_text() == f"{{{core}}}\n"


async def test_a_process_has_its_own_process_group_and_what_it_was_told(tmp_path: Path) -> None:
    tell = "import os, sys; print(os.getpgid(0) == os.getpid(), sys.argv[1:], os.environ['A'])"
    argv = [sys.executable, "-c", tell, "--flag=with space"]
    process = await Process.start(argv, {"A": "b"}, None, tmp_path / "log")
    assert await process.wait() == 0
    assert (tmp_path / "log").read_text() == "True ['--flag=with space'] b\n"


async def test_a_program_that_cannot_be_run_says_why(tmp_path: Path) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    process = await Process.start([str(program)], os.environ, None, tmp_path / "log")
    assert await asyncio.wait_for(process.wait(), 60) == 127
    assert log.reason(log.lines_since(tmp_path / "log", 0)) == f"{program}: No such file or directory"


def test_a_command_beside_this_python_wins_over_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("environment", "path"):
        command = tmp_path / folder / "outrider-target"
        command.parent.mkdir()
        command.write_text("#!/bin/sh\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "environment" / "python"))
    assert find_command("outrider-target") == str(tmp_path / "environment" / "outrider-target")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert find_command("outrider-target") == str(tmp_path / "path" / "outrider-target")


def test_a_command_that_is_not_there_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LocalError, match=r"outrider-nothing: .*pip install outrider-serving"):
        find_command("outrider-nothing")


def test_the_mirrors_flag_wins_over_the_environment(tmp_path: Path) -> None:
    assert model_mirror(str(tmp_path), {"OUTRIDER_MODEL_MIRROR": "https://models.example"}) == str(tmp_path)


def test_the_environments_mirror_wins_over_the_cache(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    user = {"OUTRIDER_MODEL_MIRROR": "https://models.example", "OUTRIDER_CACHE": str(tmp_path)}
    assert model_mirror(None, user) == "https://models.example"


def test_the_cache_is_a_mirror_once_something_is_in_it(tmp_path: Path) -> None:
    user = {"OUTRIDER_CACHE": str(tmp_path)}
    assert model_mirror(None, user) is None
    (tmp_path / "models").mkdir()
    assert model_mirror(None, user) == str(tmp_path / "models")


@pytest.mark.parametrize("source", ["--model-mirror", "OUTRIDER_MODEL_MIRROR"])
def test_a_mirror_that_is_not_there_names_where_it_was_named(source: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    flag = missing if source == "--model-mirror" else None
    user = {} if flag else {source: missing}
    with pytest.raises(LocalError, match=f"^{source}: "):
        model_mirror(flag, user)


def test_a_user_without_a_home_has_no_cache_and_a_mirror_below_it_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(_: object) -> None:
        raise KeyError("no such user")

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert model_mirror(None, {}) is None
    with pytest.raises(LocalError, match=r"^--model-mirror: ~/models is no folder"):
        model_mirror("~/models", {})


def test_a_relative_mirror_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mirror").mkdir()
    monkeypatch.chdir(tmp_path)
    assert model_mirror("mirror", {}) == str(tmp_path / "mirror")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], None),
        (
            ["loading", "outrider-target: error: --model: no such folder; name one"],
            "--model: no such folder; name one",
        ),
        (["outrider-draft: error: --port: in use; choose one", "bye"], "--port: in use; choose one"),
        (["Traceback (most recent call last):", "MemoryError: 4 GiB"], "MemoryError: 4 GiB"),
        (['{"event": "fault", "error": "out of memory", "level": "error"}'], "fault: out of memory"),
        (["[1, 2]"], "[1, 2]"),
    ],
)
def test_the_reason_is_the_error_line_or_else_the_last_words(lines: list[str], reason: str | None) -> None:
    assert log.reason(lines) == reason


def test_only_what_this_run_has_logged_is_read(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("of the run before\n")
    offset_bytes = log.size_bytes(file)
    file.write_text("of the run before\n\nof this one\n")
    assert log.lines_since(file, offset_bytes) == ["of this one"]
