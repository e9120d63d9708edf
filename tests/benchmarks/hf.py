"""transformers as systems to compare with: one worker process, generate and assisted generation as its two faces."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outrider_operator.local import launch

from benchmarks.errors import BenchError
from benchmarks.prompts import Prompt
from benchmarks.runs import Answer

LONGEST_LINE_BYTES = 1 << 24
GENERATE = "benchmarks.hf_worker"
TESTS = Path(__file__).parents[1]
# As Outrider's own processes have it: who waits sleeps.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "20000", "TOKENIZERS_PARALLELISM": "false"}


class HfWorker:
    """A process that is asked by JSON lines. Dies with this one."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, module: str, flags: Sequence[str]) -> None:
        """Runs `python -m module`, until its models are loaded. Raises BenchError."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), "all"),
                *(sys.executable, "-m", module, *flags),
                cwd=TESTS,
                env=os.environ | ENVIRONMENT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=LONGEST_LINE_BYTES,
                start_new_session=True,  # Ctrl-C is for the benchmark, which then ends its processes
            )
        await self._receive()

    def pids(self) -> list[int]:
        return [] if self._process is None else [self._process.pid]

    def problem(self) -> str | None:
        if self._process is None or self._process.returncode is None:
            return None
        return f"transformers: the worker ended; its log: {self._log}"

    async def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One request, answered before the next is made. Raises BenchError."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        await self._process.stdin.drain()
        return await self._receive()

    async def _receive(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise BenchError(f"transformers: the worker ended; its log: {self._log}")
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise BenchError(f"transformers: {message['error']}")
        return message

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


def generate_flags(target: Path, draft: Path | None, dtype: str, draft_dtype: str, *, mend: bool = False) -> list[str]:
    """The command line of hf_worker.py."""
    command = [f"--target={target}", f"--dtype={dtype}"]
    if draft is not None:
        command += [f"--draft={draft}", f"--draft-dtype={draft_dtype}"]
    return command + (["--mend"] if mend else [])


@dataclass(frozen=True)
class HfGenerate:
    """`generate`, or assisted generation, of a worker. A `Backend`."""

    worker: HfWorker
    assisted: bool

    def pids(self) -> list[int]:
        return self.worker.pids()

    def problem(self) -> str | None:
        return self.worker.problem()

    async def run(self, prompt: Prompt, tokens: int, temperature: float) -> Answer:
        assert temperature == 0, "only greedy answers can be compared with those of transformers"
        request = {"prompt": prompt.tokens, "tokens": tokens, "assisted": self.assisted}
        return Answer(**await self.worker.ask(request))

    async def stop(self) -> None:
        await self.worker.stop()
