"""Processes are added and ended while others serve: who is reached, and what becomes of what they serve."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from integration.local.runner import Up
from outrider_operator.api.validation import load
from outrider_operator.local.fleet import Fleet
from outrider_operator.local.plan import Machine, plan_run
from outrider_operator.local.role import Phase, Role

PATIENCE_S = 60.0


class Seen:
    """The phases of each process, in their order."""

    def __init__(self) -> None:
        self.phases: dict[str, list[Phase]] = {}

    def __call__(self, role: Role) -> None:
        phases = self.phases.setdefault(role.plan.name, [])
        if phases[-1:] != [role.status.phase]:
            phases.append(role.status.phase)


@contextlib.asynccontextmanager
async def fleet(
    up: Up, monkeypatch: pytest.MonkeyPatch, **wishes: dict[str, object]
) -> AsyncIterator[tuple[Fleet, Seen]]:
    """One to three targets and none to two drafts, one of each at first. wishes: see Up.environment."""
    up.edit("spec", "autoscaling", value={"target": {"maxReplicas": 3}, "draft": {"maxReplicas": 2}})
    monkeypatch.setattr(sys, "executable", str(up.bin / "python"))
    [model] = load(up.resource)
    private = up.folder / "private"
    private.mkdir()
    environment = up.environment(**wishes)
    seen = Seen()
    made = Fleet(plan_run(model, Machine(None, range(2), private, environment)), up.folder, environment, seen)
    made.start()
    try:
        yield made, seen
    finally:
        await made.end()


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not look():  # noqa: ASYNC110 what is awaited has no event
            await asyncio.sleep(0.02)


def ready(fleet: Fleet) -> list[str]:
    return [role.plan.name for role in fleet.roles if role.status.phase is Phase.READY]


def names(fleet: Fleet) -> list[str]:
    return [role.plan.name for role in fleet.roles]


def drafts_listed(folder: Path) -> list[str]:
    return (folder / "private" / "drafts").read_text().split()


def address_told(up: Up, name: str) -> str:
    """Where the draft of this name was told to listen: anywhere, if something else has its usual port."""
    [port] = [flag.removeprefix("--port=") for flag in up.what_was_told(name)["argv"] if flag.startswith("--port=")]
    return f"127.0.0.1:{port}"


async def get(up: Up, path: str) -> str:
    """An answer on a connection of its own."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
        response = await client.get(f"http://127.0.0.1:{up.port}{path}")
        return response.text


async def asked(up: Up, times: int) -> set[str]:
    return {await get(up, "/name") for _ in range(times)}


async def begun(up: Up) -> asyncio.Task[str]:
    """A stream on a connection of its own, whose first line has come; the task gives it whole."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", up.port)
        writer.write(b"GET /stream HTTP/1.0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        first = await reader.readline()

    async def whole() -> str:
        with contextlib.closing(writer):
            return (first + await asyncio.wait_for(reader.read(), PATIENCE_S)).decode()

    return asyncio.create_task(whole())


async def test_a_target_is_reached_when_it_is_ready_and_ends_when_its_streams_have(
    up: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet(up, monkeypatch, target={"held": ["target-2"]}) as (made, seen):
        await until(lambda: ready(made) == ["target-1", "draft-1"])
        made.scale("target", 2)
        assert await asked(up, 3) == {"target-1"}
        up.let_go("target-2")
        await until(lambda: "target-2" in ready(made))
        streams = [await begun(up) for _ in range(2)]
        made.scale("target", 1)
        assert await asked(up, 3) == {"target-1"}
        assert {await stream for stream in streams} == {"target-1\n" * 20, "target-2\n" * 20}
        await until(lambda: names(made) == ["target-1", "draft-1"])
        assert seen.phases["target-2"][-3:] == [Phase.READY, Phase.DRAINING, Phase.STOPPED]


async def test_the_targets_are_told_of_drafts_that_come_and_go(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fleet(up, monkeypatch) as (made, _):
        await until(lambda: ready(made) == ["target-1", "draft-1"])
        first = address_told(up, "draft-1")
        assert drafts_listed(up.folder) == [first]
        made.scale("draft", 2)
        assert drafts_listed(up.folder)[:1] == [first]
        await until(lambda: ready(made) == ["target-1", "draft-1", "draft-2"])
        assert drafts_listed(up.folder) == [first, address_told(up, "draft-2")]
        made.scale("draft", 0)
        assert drafts_listed(up.folder) == []
        await until(lambda: names(made) == ["target-1"])
        made.scale("draft", 1)
        await until(lambda: ready(made) == ["target-1", "draft-1"])
        assert drafts_listed(up.folder) == [address_told(up, "draft-1")]


async def test_what_is_wanted_again_while_another_still_ends_is_a_new_process(
    up: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet(up, monkeypatch) as (made, _):
        made.scale("target", 2)
        await until(lambda: len(ready(made)) == 3)
        streams = [await begun(up) for _ in range(2)]
        made.scale("target", 1)
        made.scale("target", 2)
        assert [role.plan.name for role in made.staying("target")] == ["target-1", "target-3"]
        assert len(await asyncio.gather(*streams)) == 2
        await until(lambda: ready(made) == ["target-1", "target-3", "draft-1"])
        assert await asked(up, 4) == {"target-1", "target-3"}


async def test_one_that_never_began_is_not_waited_for(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    """On shared cores a process starts when those before it have: these two have not."""
    async with fleet(up, monkeypatch) as (made, seen):
        made.scale("target", 3)
        made.scale("target", 1)
        await until(lambda: ready(made) == ["target-1", "draft-1"] and names(made) == ["target-1", "draft-1"])
        assert seen.phases["target-3"] == [Phase.DRAINING, Phase.STOPPED]


async def test_the_end_of_the_run_ends_those_that_drain_too(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fleet(up, monkeypatch) as (made, _):
        made.scale("target", 2)
        await until(lambda: len(ready(made)) == 3)
        made.scale("target", 1)
    assert up.nothing_is_left()
