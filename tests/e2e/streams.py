"""Streams that go on and on: as many in flight as are wanted at the moment, each asking one task after another, at once
or after a rest.
"""

from __future__ import annotations

import itertools
import threading
import time
from types import TracebackType
from typing import Self

from e2e.asking import TIMEOUT_S, Answer, Way, ask_streamed, request
from e2e.tasks import TASKS, Task
from openai import OpenAI

MOST = 16
STREAM_TOKENS = 16


class Streams:
    """Every request has a connection of its own, so that each may go to another target.

    rest: pause before the next request, in times of what the last answer took. A share of the time, so that one
    stream is as little of a load for a slow machine as for a fast one.
    """

    def __init__(self, url: str, way: Way) -> None:
        self.wanted = 0
        self.rest = 0.0
        self.answers: list[tuple[Task, Answer]] = []
        self.failures: list[str] = []
        self._url = url
        self._way = way
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(place,)) for place in range(MOST)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Waits for the answers that are on their way."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, place: int) -> None:
        alone = {"Connection": "close"}
        url = f"{self._url}/v1"
        with OpenAI(base_url=url, api_key="none", max_retries=0, timeout=TIMEOUT_S, default_headers=alone) as openai:
            took_s = 0.0
            for task in itertools.islice(itertools.cycle(TASKS), place, None):
                self._ended.wait(self.rest * took_s)
                while self.wanted <= place and not self._ended.is_set():
                    self._ended.wait(0.1)
                if self._ended.is_set():
                    return
                began_s = time.monotonic()
                try:
                    asked = request(task, self._way, max_tokens=STREAM_TOKENS)
                    self.answers.append((task, ask_streamed(openai, asked)))
                except Exception as error:  # whatever it is, a client has seen it
                    self.failures.append(f"{task.prompt[:40]}: {error!r}")
                took_s = time.monotonic() - began_s
