"""`outrider up` as a process of its own, with stand-ins for the two commands it starts."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
import yaml

T = TypeVar("T")

PATIENCE_S = 60.0  # of a test, on a busy machine; nothing here takes more than seconds
STAND_IN = Path(__file__).with_name("stand_in.py")
RUN_OUTRIDER = "import sys; sys.argv[0] = 'outrider'; from outrider_operator.cli import main; main()"

RESOURCE = """\
apiVersion: outrider.dev/v1alpha1
kind: SpeculativeModel
metadata:
  name: coder
spec:
  target:
    model:
      uri: hf://someone/large
  draft:
    model:
      uri: hf://someone/small
  endpoint:
    port: {port}
"""


def eventually(what: str, look: Callable[[], T | None]) -> T:
    """The first thing seen that is not None or False; fails with `what` when it never comes."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"never seen: {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Up:
    """One `outrider up`, its output, and what its stand-ins were told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.resource = folder / "model.yaml"
        self.resource.write_text(RESOURCE.format(port=self.port))
        self.bin = folder / "bin"
        self.told = folder / "told"
        self.out, self.err = folder / "out", folder / "err"
        self.process: subprocess.Popen[bytes] | None = None
        self._install()

    def _install(self) -> None:
        """A Python of its own with the stand-ins beside it, as the real commands are in an environment."""
        self.bin.mkdir()
        self.told.mkdir()
        (self.bin / "python").symlink_to(Path(sys.executable).resolve())
        for role in ("target", "draft"):
            command = self.bin / f"outrider-{role}"
            command.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
            command.chmod(0o755)

    def command(self, *args: str) -> list[str]:
        return [str(self.bin / "python"), "-c", RUN_OUTRIDER, "up", str(self.resource), *args]

    def environment(self, **wishes: dict[str, object]) -> dict[str, str]:
        """wishes: target and draft, what the stand-ins are to do (see stand_in.py)."""
        told = {f"STAND_IN_{role.upper()}": json.dumps(wish) for role, wish in wishes.items()}
        places = {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "STAND_IN_TOLD": str(self.told),
            "OUTRIDER_CACHE": str(self.folder / "cache"),
            "TMPDIR": str(self.folder),
        }
        return dict(os.environ) | places | told

    def start(self, *args: str, **wishes: dict[str, object]) -> "Up":
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                self.command(*args),
                env=self.environment(**wishes),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return self

    def lines(self) -> list[str]:
        return self.out.read_text().splitlines()

    def errors(self) -> list[str]:
        return self.err.read_text().splitlines()

    def sees(self, *words: str, times: int = 1) -> str:
        """Waits for a line of output with all the words (the times-th one) and returns it."""

        def look() -> str | None:
            found = [line for line in self.lines() if all(word in line for word in words)]
            return found[times - 1] if len(found) >= times else None

        try:
            return eventually(f"{words} x{times}", look)
        except AssertionError as problem:
            raise AssertionError(f"{problem} in\n{self.out.read_text()}{self.err.read_text()}") from None

    def what_was_told(self, name: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.told / f"{name}.json").read_text())
        return told

    def edit(self, *path: str, value: object) -> None:
        """Sets a field of the resource, or removes it where the value is None."""
        resource = yaml.safe_load(self.resource.read_text())
        around = resource
        for name in path[:-1]:
            around = around.setdefault(name, {})
        if value is None:
            del around[path[-1]]
        else:
            around[path[-1]] = value
        self.resource.write_text(yaml.safe_dump(resource))

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def exit_code(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE_S)

    def running(self) -> list[psutil.Process]:
        """Every process of the stand-ins, their children included."""
        return [process for process in psutil.process_iter() if self._is_stand_in(process)]

    def _is_stand_in(self, process: psutil.Process) -> bool:
        try:
            return any(str(self.bin / "outrider-") in part for part in process.cmdline())
        except psutil.Error:
            return False

    def nothing_is_left(self) -> bool:
        eventually("the end of every process", lambda: not self.running())
        return True

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for process in self.running():
            process.kill()
