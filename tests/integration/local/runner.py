"""`outrider up` as a process of its own, with stand-ins for the two commands it starts."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import psutil
import yaml
from support.ports import free_port
from support.run import Run
from support.waiting import eventually

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


class Up(Run):
    """One `outrider up`, its output, and what its stand-ins were told."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        self.port = free_port()
        self.resource = folder / "model.yaml"
        self.resource.write_text(RESOURCE.format(port=self.port))
        self.bin = folder / "bin"
        self.told = folder / "told"
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
        self.launch(self.command(*args), self.environment(**wishes))
        return self

    def what_was_told(self, name: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.told / f"{name}.json").read_text())
        return told

    def let_go(self, name: str) -> None:
        """The stand-in of this name, which was to be held, becomes ready."""
        (self.told / f"{name}.let-go").touch()

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
