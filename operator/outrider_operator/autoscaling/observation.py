"""What the autoscaler knows of one model at one moment. Only data: signals gathers it, decide judges."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pods:
    """The pods of one role.

    wanted: what its Deployment says. ready: those that answer. starting: pending or loading, and not for too long yet.
    stuck: pending or loading for longer than any start takes; they are not waited for.
    """

    wanted: int
    ready: int
    starting: int = 0
    stuck: int = 0


@dataclass(frozen=True)
class StepTime:
    """Seconds of a target's forward, as its pods have fitted them while running.

    curve: (tokens in the batch, seconds) with tokens rising, one at least: straight lines between, and beyond the ends
    the slope of the two there, but never below both: where noise makes a curve fall, no step takes no time.
    sequence_s: what each further sequence adds. prefill_token_s: what one token of a prompt adds to a step.
    """

    curve: tuple[tuple[float, float], ...]
    sequence_s: float = 0.0
    prefill_token_s: float = 0.0

    def of(self, tokens: float, sequences: float = 1.0) -> float:
        """Seconds of a forward over so many tokens of so many sequences."""
        return _interpolated(self.curve, tokens) + self.sequence_s * max(0.0, sequences - 1)


@dataclass(frozen=True)
class DraftTime:
    """Seconds of one level of a draft's trees: level_s for one sequence, sequence_s more for each further one."""

    level_s: float
    sequence_s: float = 0.0

    def of(self, sequences: float) -> float:
        """Seconds of one level of so many sequences' trees."""
        return self.level_s + self.sequence_s * max(0.0, sequences - 1)


@dataclass(frozen=True)
class Signals:
    """What was measured over the last window_s seconds. Rates are by second. None: nothing was there to measure.

    Of all ready targets together: pods, rates, running, waiting, kv_usage, latencies, draft_wait_share; draft_busy of
    all drafts. The rest is of the newest revision that answers: what another model or image does is not mixed with it.

    pods: how many targets answered. running, waiting: means over the window. kv_usage: mean share of the pools, 0 to 1.
    max_sequences: that one target runs at once. path_acceptance: of the trees verified, the share whose path was
    accepted to depth 1, 2, …; empty where none was verified. nodes_per_depth: nodes verified by level of a tree.
    tokens_per_step: of one sequence, the target's own included. gain: goodput with speculation over that without, as
    the targets measure it. draft_gain: over that with n-grams alone; None of targets that do not say. draft_wait_share:
    of the steps' time, spent waiting for trees. draft_busy: mean share of their time that the drafts compute.
    itl_p95_s: of the gaps between tokens. itl_mean_s: their mean. chunk_tokens: most of a prompt that one step reads.
    """

    window_s: float
    pods: int
    requests_per_s: float
    prompt_tokens_per_s: float
    generated_tokens_per_s: float
    running: float
    waiting: float
    kv_usage: float
    max_sequences: int
    step_time: StepTime | None = None
    draft_time: DraftTime | None = None
    path_acceptance: tuple[float, ...] = ()
    nodes_per_depth: float = 1.0
    tokens_per_step: float | None = None
    gain: float | None = None
    draft_gain: float | None = None
    acceptance_rate: float | None = None
    ttft_p95_s: float | None = None
    itl_p95_s: float | None = None
    itl_mean_s: float | None = None
    chunk_tokens: float = 512.0
    draft_wait_share: float | None = None
    draft_busy: float | None = None


@dataclass(frozen=True)
class Observation:
    """target, draft: their pods. speculating: whether the targets were told that they may ask drafts. signals: None
    where no target answered. others: roles ("target", "draft") that somebody else scales, with who it is. outgoing:
    what trees earn is that of a model in whose place another is starting.
    """

    target: Pods
    draft: Pods
    speculating: bool
    signals: Signals | None
    others: dict[str, str] = field(default_factory=dict)
    outgoing: bool = False

    @property
    def drafting(self) -> bool:
        """Whether there are trees of drafts among those that the targets verify."""
        return self.speculating and self.draft.ready > 0


def _interpolated(curve: tuple[tuple[float, float], ...], tokens: float) -> float:
    if len(curve) == 1:
        return curve[0][1]
    right = min(max(1, bisect_left(curve, (tokens,))), len(curve) - 1)
    (x0, y0), (x1, y1) = curve[right - 1], curve[right]
    return max(min(y0, y1), y0 + (y1 - y0) * (tokens - x0) / (x1 - x0))
