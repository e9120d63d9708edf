"""Generates the typed gRPC stubs from serving/proto when the distribution is built or installed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "outrider_serving/protocol"
PROTO = "outrider/draft/v1/draft.proto"


class StubsHook(BuildHookInterface):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        from grpc_tools import protoc

        root = Path(self.root)
        # Mapping the proto folder under the package's own path makes protoc write imports that
        # are absolute within the distribution, so that no top-level package is taken.
        arguments = [
            "protoc",
            f"-I{PACKAGE}={root / 'proto'}",
            f"--python_out={root}",
            f"--grpc_python_out={root}",
            f"{PACKAGE}/{PROTO}",
        ]
        scripts = Path(sys.executable).parent
        for name in ("mypy", "mypy_grpc"):
            plugin = shutil.which(f"protoc-gen-{name}") or str(scripts / f"protoc-gen-{name}")
            arguments[1:1] = [f"--plugin=protoc-gen-{name}={plugin}", f"--{name}_out={root}"]
        if protoc.main(arguments) != 0:
            raise RuntimeError(f"protoc failed on {PROTO}: see the lines above")
        directory = root / PACKAGE / "outrider"
        for folder in (directory, directory / "draft", directory / "draft" / "v1"):
            (folder / "__init__.py").touch()
