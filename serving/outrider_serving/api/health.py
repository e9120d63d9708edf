"""What /health says about the target and its speculation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

DraftState = Literal["None", "Connecting", "Connected", "Incompatible"]


@dataclass(frozen=True)
class DraftHealth:
    """`reason` says in one line why the draft is not connected; empty when there is nothing to say."""

    state: DraftState
    model: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class OneDraftHealth:
    """One of several drafts. `state` is Connecting, Connected, Incompatible, Draining (it is about to end, or its name
    leads to it no more) or Resting (it was silent); `sequences` are those it drafts or is about to.
    """

    address: str
    state: str
    model: str | None
    reason: str
    sequences: int


@dataclass(frozen=True)
class SpeculationHealth:
    """`draft` is the draft that is best off, `drafts` is all of them. `allowed`: whether the target may ask drafts just
    now, as it was told while it runs.
    """

    mode: str
    placement: str
    draft: DraftHealth
    drafts: tuple[OneDraftHealth, ...] = ()
    allowed: bool = True


@dataclass(frozen=True)
class HealthReport:
    """`failed`: the engine cannot serve any more and the process should be restarted. A draft that is missing
    or does not fit is never that: the target serves without it."""

    model: str
    speculation: SpeculationHealth
    status: Literal["ok", "failed"] = "ok"

    @property
    def http_status(self) -> int:
        return 200 if self.status == "ok" else 503

    def body(self) -> dict[str, object]:
        return {"status": self.status, "model": self.model, "speculation": asdict(self.speculation)}
