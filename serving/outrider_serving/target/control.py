"""Whether the target may ask a draft, as it is told while it runs: by a file of a folder, which Kubernetes keeps as the
ConfigMap is.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from outrider_serving.mounted import snapshot

log = structlog.get_logger()

FILE = "speculation"
OFF = "off"
LOOK_EVERY_S = 1.0


class SpeculationControl:
    """`allowed` is what the file said when it was last looked at. It is so too where there is no folder, no file, or
    anything in it but `off`: without being told otherwise, a target asks.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self.allowed = self._read()

    async def follow(self, look_every_s: float = LOOK_EVERY_S) -> None:
        """Looks again and again. On the event loop: a step of the engine waits for no file."""
        while True:
            await asyncio.sleep(look_every_s)
            self.look()

    def look(self) -> None:
        """Reads the file anew."""
        allowed = self._read()
        if allowed != self.allowed:
            log.info("speculation", allowed=allowed)
        self.allowed = allowed

    def _read(self) -> bool:
        if self._folder is None:
            return True
        try:
            said = (snapshot(self._folder) / FILE).read_bytes()
        except OSError:
            return True
        return said.strip().lower() != OFF.encode()
