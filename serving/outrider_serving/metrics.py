"""What both roles tell Prometheus. Names follow vLLM's under the prefix `outrider_`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from outrider_serving.engine.step_time import KNOTS_TOKENS, StepTime

# fmt: off
LATENCY_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1,
    0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0,
)
LONG_BUCKETS_S = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
    7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0,
)
# fmt: on


class _Named:
    """Makes metrics of one registry that all carry the model's name."""

    def __init__(self, registry: CollectorRegistry, model_name: str) -> None:
        self._registry = registry
        self._model_name = model_name

    def counter(self, name: str, text: str) -> Counter:
        return Counter(f"outrider_{name}", text, ["model_name"], registry=self._registry).labels(self._model_name)

    def labelled(self, name: str, text: str, label: str) -> Counter:
        return Counter(f"outrider_{name}", text, ["model_name", label], registry=self._registry)

    def labelled_gauge(self, name: str, text: str, label: str) -> Gauge:
        return Gauge(f"outrider_{name}", text, ["model_name", label], registry=self._registry)

    def gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"outrider_{name}", text, ["model_name"], registry=self._registry).labels(self._model_name)

    def histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        family = Histogram(f"outrider_{name}", text, ["model_name"], registry=self._registry, buckets=buckets)
        return family.labels(self._model_name)


class StepFigures(Protocol):
    """The figures of a target step; see `StepReport` in target/step.py."""

    prompt_tokens: int
    decoded_tokens: int
    first_tokens: int
    decoded_sequences: int
    drafts: int
    draft_tokens: int
    draft_levels: int
    accepted_per_position: list[int]
    near_ties: int
    tolerated: int
    preemptions: int
    prefix_queries: int
    prefix_hits: int
    asked: int
    tree_hits: int
    draft_wait_s: float
    forward_s: float
    verify_s: float
    host_s: float


class TargetMetrics:
    """Counters of the engine's thread; prometheus_client's own locks make them safe to scrape from another."""

    def __init__(self, registry: CollectorRegistry, model_name: str) -> None:
        named = _Named(registry, model_name)
        self._model_name = model_name
        self._drafts = named.counter("spec_decode_num_drafts", "Trees verified.")
        self._draft_tokens = named.counter("spec_decode_num_draft_tokens", "Nodes of the trees verified.")
        self._draft_levels = named.counter("spec_decode_num_draft_levels", "Levels of the trees verified.")
        self._accepted = named.counter("spec_decode_num_accepted_tokens", "Nodes accepted, bonus tokens not counted.")
        self._accepted_at = named.labelled(
            "spec_decode_num_accepted_tokens_per_pos", "Nodes accepted, by depth from 0.", "position"
        )
        self._near_ties = named.counter(
            "spec_decode_num_near_ties",
            "Choices whose second best was within the rounding error of the dtype.",
        )
        self._tolerated = named.counter(
            "spec_decode_num_tolerated_tokens", "Drafted tokens taken though another weighed a little more."
        )
        self._asked = named.counter("draft_asked", "Trees asked of the draft.")
        self._tree_hits = named.counter("draft_tree_hits", "Trees that the draft had when they were asked for.")
        self._steps = named.counter("decode_steps", "Steps that decoded at least one sequence.")
        self._sequence_steps = named.counter("decode_sequence_steps", "Steps times the sequences they decoded.")
        self._decoded = named.counter("decode_tokens", "Tokens emitted by decoding steps, bonus tokens included.")
        self._generated = named.counter("generation_tokens", "Tokens emitted, first tokens included.")
        self._prompt = named.counter("prompt_tokens", "Prompt tokens read.")
        self._step_s = named.labelled("step_seconds", "Wall time of steps, by what it was spent on.", "part")
        self._requests = named.labelled("requests", "Requests ended, by how.", "outcome")
        self._ttft = named.histogram("time_to_first_token_seconds", "Arrival to first token.", LONG_BUCKETS_S)
        self._itl = named.histogram(
            "inter_token_latency_seconds",
            "Time between tokens; those of one step share the time since the step before evenly.",
            LATENCY_BUCKETS_S,
        )
        self._e2e = named.histogram("e2e_request_latency_seconds", "Arrival to last token.", LONG_BUCKETS_S)
        self._running = named.gauge("num_requests_running", "Requests that hold KV blocks.")
        self._waiting = named.gauge("num_requests_waiting", "Requests that wait for a place.")
        self._kv_usage = named.gauge("kv_cache_usage_perc", "Share of the KV pool's blocks that requests hold, 0 to 1.")
        self._preemptions = named.counter(
            "num_preemptions", "Requests put back to wait because KV blocks ran out, to be read anew."
        )
        self._prefix_queries = named.counter("prefix_cache_queries", "Tokens looked up in the prefix cache.")
        self._prefix_hits = named.counter("prefix_cache_hits", "Tokens found there, which need not be read.")
        self._gain = named.gauge("speculation_goodput_gain", "Tokens a second over those of plain decoding, lately.")
        self._gain.set(1.0)
        self._draft_gain = named.gauge("draft_goodput_gain", "Tokens a second over those without the draft, lately.")
        self._draft_gain.set(1.0)
        self._connected = named.gauge("draft_connected", "Compatible drafts that are connected.")
        self._arrived = named.counter(
            "requests_arrived", "Requests that could be served, those included that the queue had no room for."
        )
        self._max_num_seqs = named.gauge("max_num_seqs", "Requests that run at once; more wait.")
        self._max_batched_tokens = named.gauge("max_batched_tokens", "Tokens of a step, prompts' and trees', at most.")
        self._allowed = named.gauge("speculation_allowed", "0 while the target is told not to ask a draft, else 1.")
        self._allowed.set(1.0)
        self._step_time_s = named.labelled_gauge(
            "step_time_seconds", "A forward over so many tokens of one sequence, as fitted while running.", "tokens"
        )
        self._step_time_sequence_s = named.gauge(
            "step_time_sequence_seconds", "What each further sequence adds to a forward, as fitted while running."
        )
        self._incompatible = named.gauge(
            "draft_incompatible", "Drafts refused since they do not fit the target; /health says why."
        )

    def set_load(self, running: int, waiting: int, kv_usage: float) -> None:
        self._running.set(running)
        self._waiting.set(waiting)
        self._kv_usage.set(kv_usage)

    def follow_drafts(self, connected: Callable[[], int], incompatible: Callable[[], int]) -> None:
        """How many are connected, and how many do not fit, is asked at each scrape."""
        self._connected.set_function(lambda: float(connected()))
        self._incompatible.set_function(lambda: float(incompatible()))

    def follow_step_time(self, step_time: StepTime) -> None:
        """The curve is asked for at each scrape."""
        for tokens in map(int, KNOTS_TOKENS):
            self._step_time_s.labels(self._model_name, str(tokens)).set_function(partial(step_time.of, tokens))
        self._step_time_sequence_s.set_function(lambda: step_time.sequence_s)

    def follow_permission(self, allowed: Callable[[], bool]) -> None:
        """`allowed` is asked at each scrape."""
        self._allowed.set_function(lambda: float(allowed()))

    def set_places(self, max_num_seqs: int, max_batched_tokens: int) -> None:
        self._max_num_seqs.set(max_num_seqs)
        self._max_batched_tokens.set(max_batched_tokens)

    def record(self, report: StepFigures, goodput_gain: float, draft_gain: float) -> None:
        name = self._model_name
        self._prompt.inc(report.prompt_tokens)
        self._preemptions.inc(report.preemptions)
        self._prefix_queries.inc(report.prefix_queries)
        self._prefix_hits.inc(report.prefix_hits)
        self._generated.inc(report.decoded_tokens + report.first_tokens)
        if not report.decoded_sequences:
            return
        self._steps.inc()
        self._sequence_steps.inc(report.decoded_sequences)
        self._decoded.inc(report.decoded_tokens)
        self._drafts.inc(report.drafts)
        self._draft_tokens.inc(report.draft_tokens)
        self._draft_levels.inc(report.draft_levels)
        self._accepted.inc(sum(report.accepted_per_position))
        for position, accepted in enumerate(report.accepted_per_position):
            self._accepted_at.labels(name, str(position)).inc(accepted)
        self._near_ties.inc(report.near_ties)
        self._tolerated.inc(report.tolerated)
        self._asked.inc(report.asked)
        self._tree_hits.inc(report.tree_hits)
        for part in ("draft_wait", "forward", "verify", "host"):
            self._step_s.labels(name, part).inc(getattr(report, f"{part}_s"))
        self._gain.set(goodput_gain)
        self._draft_gain.set(draft_gain)

    def start_request(self) -> RequestTimer:
        return RequestTimer(self)

    def first_token(self, seconds: float) -> None:
        self._ttft.observe(seconds)

    def tokens(self, count: int, seconds: float) -> None:
        for _ in range(count):
            self._itl.observe(seconds / count)

    def arrived(self) -> None:
        self._arrived.inc()

    def rejected(self) -> None:
        self._requests.labels(self._model_name, "rejected").inc()

    def ended(self, outcome: str, seconds: float) -> None:
        self._requests.labels(self._model_name, outcome).inc()
        self._e2e.observe(seconds)


class RequestTimer:
    """The latencies of one request, and how it ended: what is told first. The engine's thread may make the last of an
    answer while the event loop is told that its client has left.
    """

    def __init__(self, metrics: TargetMetrics) -> None:
        self._metrics = metrics
        self._arrived_s = time.perf_counter()
        self._last_s: float | None = None
        self._end = threading.Lock()  # taken by the first that ends it, for good

    def delta(self, tokens: int, finish_reason: str | None) -> None:
        now_s = time.perf_counter()
        if self._last_s is None:
            self._metrics.first_token(now_s - self._arrived_s)
        elif tokens:
            self._metrics.tokens(tokens, now_s - self._last_s)
        self._last_s = now_s
        if finish_reason is not None:
            self.ended(finish_reason)

    def ended(self, outcome: str) -> None:
        """With its answer's end or before it. Of what is told later nothing counts."""
        if self._end.acquire(blocking=False):
            self._metrics.ended(outcome, time.perf_counter() - self._arrived_s)


class LevelFigures(Protocol):
    """Seconds of a level of a draft's trees; see `LevelTime` in draft/level_time.py."""

    @property
    def level_s(self) -> float: ...

    @property
    def sequence_s(self) -> float: ...


class DraftMetrics:
    """Counters of the draft's thread."""

    def __init__(self, registry: CollectorRegistry, model_name: str) -> None:
        named = _Named(registry, model_name)
        self._sequences = named.gauge("draft_sequences", "Sequences being drafted.")
        self._levels = named.counter("draft_levels", "Forwards of the draft: one level of every growing tree.")
        self._tokens = named.counter("draft_tokens", "Rows that the draft forwarded, prompts included.")
        self._forward_s = named.counter("draft_forward_seconds", "Wall time of the draft's forwards.")
        self._commits = named.counter("draft_commits", "Commits that targets sent.")
        self._hits = named.counter("draft_commit_hits", "Commits whose first token was in the tree.")
        self._unlisted = named.counter("draft_unlisted_tokens", "Tokens committed that the draft's short list lacked.")
        self._level_s = named.gauge("draft_level_seconds", "A level of one sequence's tree, as fitted while running.")
        self._level_sequence_s = named.gauge(
            "draft_level_sequence_seconds", "What each further sequence adds to a level, as fitted while running."
        )

    def follow_levels(self, levels: LevelFigures) -> None:
        """They are asked for at each scrape."""
        self._level_s.set_function(lambda: levels.level_s)
        self._level_sequence_s.set_function(lambda: levels.sequence_s)

    def record(self, sequences: int, tokens: int, forward_s: float) -> None:
        self._sequences.set(sequences)
        if tokens:
            self._levels.inc()
            self._tokens.inc(tokens)
            self._forward_s.inc(forward_s)

    def committed(self, commits: int, hits: int, unlisted: int) -> None:
        self._commits.inc(commits)
        self._hits.inc(hits)
        self._unlisted.inc(unlisted)
