"""One process with its process group: started, waited for, ended. Knows nothing of roles or restarts."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from outrider_operator.local import launch
from outrider_operator.local.errors import LocalError


def find_command(name: str) -> str:
    """The program beside this Python first (the environment `outrider` was installed into), then on PATH.

    Raises LocalError when it is in neither.
    """
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    found = beside or shutil.which(name)
    if found is None:
        raise LocalError(
            f"{name}: neither beside {sys.executable} nor on PATH; install it with `pip install outrider-serving`"
        )
    return str(Path(found).absolute())


class Process:
    """A running process, alone in a session and process group, that ends when this one does."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(
        cls, argv: Sequence[str], env: Mapping[str, str], cores: Sequence[int] | None, log: Path
    ) -> "Process":
        """Starts argv[0] (an absolute path) on the given CPUs (None: all), its output added to `log`."""
        launcher = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid())]
        pinned = "all" if cores is None else ",".join(str(core) for core in cores)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *launcher,
                pinned,
                *argv,
                env=dict(env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(process)

    async def wait(self) -> int:
        """Its exit code, negative for a signal."""
        return await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the whole group; nothing happens when none of it is left."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
