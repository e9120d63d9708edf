"""What decide remembers from one decision to the next. Immutable: decide takes one and gives the next.

Only the process has it. One that starts anew begins with `History(started_s=now)` and knows that it has seen nothing.
Seconds are those of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from outrider_operator.autoscaling.estimate import Load
from outrider_operator.autoscaling.observation import DraftTime, StepTime


@dataclass(frozen=True)
class Recommended:
    """Replicas that were thought right at one moment, before stabilisation, rates and bounds."""

    at_s: float
    replicas: int


@dataclass(frozen=True)
class Scaled:
    """A change of what a Deployment asks for: more than 0 added, less removed."""

    at_s: float
    change: int


@dataclass(frozen=True)
class RoleHistory:
    """Of one role. wanted: what its Deployment said last. decided: what was decided last, and when, before it was done;
    a change to it is stamped with that time, any other (by hand, by another controller) with the time it was seen.
    ready: how many were, and ready_since_s since when.
    """

    recommended: tuple[Recommended, ...] = ()
    scaled: tuple[Scaled, ...] = ()
    wanted: int | None = None
    decided: Recommended | None = None
    ready: int | None = None
    ready_since_s: float | None = None


@dataclass(frozen=True)
class Demand:
    """What clients asked of all targets together in the window that ended at `at_s`, how many were queued then,
    and whether that was so many that what was served tells nothing of what was asked. pods: that served it.
    ttft_p95_s: as it was measured.
    """

    at_s: float
    load: Load
    queued: float = 0.0
    saturated: bool = False
    pods: int = 0
    ttft_p95_s: float | None = None


@dataclass(frozen=True)
class Starts:
    """How long a target takes from asked for to ready. began_s: of those that start now, the oldest first. start_s:
    what the last one took that got ready; None before the first.
    """

    began_s: tuple[float, ...] = ()
    start_s: float | None = None


@dataclass(frozen=True)
class Known:
    """What was measured last of things that cannot be measured all the time: steps while nothing is asked, the
    acceptance of drafts' trees while nothing is drafted, the draft's time while there is no draft.
    """

    step_time: StepTime | None = None
    draft_time: DraftTime | None = None
    path_acceptance: tuple[float, ...] = ()
    nodes_per_depth: float = 1.0


@dataclass(frozen=True)
class GateState:
    """Whether speculation is thought to pay.

    open, since_s: as it stands and since when. told: whether the targets may draft; later than `open`: first a draft
    has to be ready. other_since_s: since when all says without a break that the other would be right. closed_gain:
    what was estimated when it closed. backoff_s: the wait before the next probe. flips: when `told` changed by what
    was measured. another: it was opened for another model, and the targets were told nothing since.
    """

    open: bool
    since_s: float
    told: bool
    backoff_s: float
    other_since_s: float | None = None
    closed_gain: float | None = None
    flips: tuple[float, ...] = ()
    another: bool = False


@dataclass(frozen=True)
class History:
    """started_s: when this process began to look. seen_since_s, seen_s: since when signals have come without a long
    break, and when they came last; None before the first.
    """

    started_s: float
    target: RoleHistory = field(default_factory=RoleHistory)
    draft: RoleHistory = field(default_factory=RoleHistory)
    demand: tuple[Demand, ...] = ()
    starts: Starts = field(default_factory=Starts)
    known: Known = field(default_factory=Known)
    gate: GateState | None = None
    seen_since_s: float | None = None
    seen_s: float | None = None
