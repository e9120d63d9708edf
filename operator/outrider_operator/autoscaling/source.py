"""Where readings of pods come from: the pods themselves, or a Prometheus that has read them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from outrider_operator.autoscaling.pods import SeenPod
from outrider_operator.autoscaling.signals import Readings


@dataclass(frozen=True)
class Read:
    """readings: of the pods that answer, by uid. failures: why the others do not, in a few words, by uid."""

    readings: Mapping[str, Readings] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Asked once a tick, with all pods that can be read."""

    async def read(self, pods: Collection[SeenPod]) -> Read: ...
