"""Several runs on one machine: each has ports of its own before anything listens there."""

from __future__ import annotations

import asyncio
import errno
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.local import files
from outrider_operator.local.errors import LocalError
from outrider_operator.local.fleet import Fleet
from outrider_operator.local.plan import Machine, plan_run
from outrider_operator.local.role import Phase, Role, RoleStatus
from support.ports import free_port


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the locks, which runs outside of the test have no part in."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def fleet(folder: Path, port: int, **autoscaling: Any) -> Fleet:
    """One target and one draft at first. autoscaling: of each role."""
    uri = {"model": {"uri": "hf://someone/model"}}
    spec = {"target": uri, "draft": uri, "endpoint": {"port": port}, "autoscaling": autoscaling or None}
    model = SpeculativeModel.model_validate(
        {
            "apiVersion": "outrider.dev/v1alpha1",
            "kind": "SpeculativeModel",
            "metadata": {"name": "coder"},
            "spec": {name: value for name, value in spec.items() if value is not None},
        }
    )
    env = {"HOME": "/home/ada"}
    return Fleet(plan_run(model, Machine(None, range(2), folder / "private", env)), folder, env, lambda _: None)


def ports(made: Fleet) -> list[int]:
    return [port for role in made.roles for port in role.plan.ports.values()]


async def test_of_two_runs_that_load_at_once_neither_is_given_a_port_of_the_other(tmp_path: Path) -> None:
    runs = [fleet(tmp_path, free_port(), target={"maxReplicas": 2}) for _ in range(2)]
    given = [port for made in runs for port in ports(made)]
    assert len(given) == len(set(given))


async def test_the_endpoint_of_a_run_that_loads_still_is_refused_to_a_second_one(tmp_path: Path) -> None:
    port = free_port()
    first = fleet(tmp_path, port)
    with pytest.raises(LocalError, match=rf"^spec\.endpoint\.port: port {port} is that of another run .*; choose"):
        fleet(tmp_path, port)
    await first.end()
    fleet(tmp_path, port)


async def test_a_draft_that_has_left_leaves_its_ports_to_other_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def runs_until_it_is_ended(_role: Role, *_: object) -> None:
        return

    monkeypatch.setattr(Role, "supervise", runs_until_it_is_ended)
    made = fleet(tmp_path, free_port(), draft={"maxReplicas": 2})
    made.start()
    before = ports(made)
    made.scale("draft", 2)
    [http, grpc] = [port for port in ports(made) if port not in before]
    made.scale("draft", 1)
    await asyncio.wait_for(asyncio.gather(*made._leaving.values()), 20)
    assert [made._held.hold(port) for port in (http, grpc)] == [True, True]
    await made.end()


async def test_drafts_that_could_not_be_told_on_a_full_disk_are_told_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    made = fleet(tmp_path, free_port(), draft={"maxReplicas": 2})
    made.start()
    made.kill()  # the processes have no part in it
    with monkeypatch.context() as full:
        full.setattr(files, "replace_file", refuse)
        made.scale("draft", 2)
        made.check()
    wanted = [role.plan.grpc_address for role in made.staying("draft")]
    told = tmp_path / "private" / "drafts"
    assert told.read_text().split() == wanted[:1]
    made.check()
    assert told.read_text().split() == wanted
    made.kill()
    await made.end()


async def test_a_port_that_another_program_took_while_the_model_was_loading_is_one_line(tmp_path: Path) -> None:
    port = free_port()
    made = fleet(tmp_path, port, target={"maxReplicas": 2})
    made.start()
    made.kill()  # the processes have no part in it
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        target = made.staying("target")[0]
        target.status = RoleStatus(Phase.READY)
        made._tell()
        serving = made._serving
        assert serving is not None
        with pytest.raises(LocalError, match=rf"^spec\.endpoint\.port: port {port} cannot be opened .*; choose"):
            await serving
    await made.end()
