"""What is printed of pods that are followed again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from outrider_operator.cluster import logs
from outrider_operator.cluster.logs import Follower, Printer, Wish
from outrider_operator.cluster.observed import Pod, pod
from outrider_operator.cluster.reader import Reader
from support import cluster_objects as objects


class Evicted:
    """A pod whose containers are gone from its node, and whose log is asked for three times."""

    def __init__(self) -> None:
        self.asked_enough = asyncio.Event()
        self._asked = 0
        ended = {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}
        self._pod = pod(objects.pod("target", ready=False, state=ended))

    async def pods(self, *_: Any) -> list[Pod]:
        return [self._pod]

    async def log(self, *_: Any) -> AsyncIterator[bytes]:
        self._asked += 1
        if self._asked == 3:
            self.asked_enough.set()
        yield b"unable to retrieve container logs for containerd://0a1b2c\n"


async def test_that_the_log_of_an_evicted_pod_is_gone_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs, "LOOK_S", 0.0)
    reader = Evicted()
    wish = Wish(role=None, previous=False, since_s=None, tail=None, raw=True)
    following = asyncio.create_task(Follower(cast("Reader", reader), "qwen-coder", wish, Printer(raw=True)).run())
    await asyncio.wait_for(reader.asked_enough.wait(), 60)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert capsys.readouterr().out == "unable to retrieve container logs for containerd://0a1b2c\n"
