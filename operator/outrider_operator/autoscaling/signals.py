"""From the readings of a model's pods to its signals. Pure: who reads them is scraper, or prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from statistics import fmean

from outrider_operator.autoscaling.observation import DraftTime, Signals, StepTime
from outrider_operator.measure import figures
from outrider_operator.measure.growth import Ends, grown, share
from outrider_operator.measure.scrape import Scrape

# Of one pod, the oldest first: all of the window.
Readings = Sequence[Scrape]

COUNTERS = frozenset(
    {
        "requests_arrived_total",
        "prompt_tokens_total",
        "generation_tokens_total",
        "decode_tokens_total",
        "decode_sequence_steps_total",
        "spec_decode_num_drafts_total",
        "spec_decode_num_draft_tokens_total",
        "spec_decode_num_draft_levels_total",
        "spec_decode_num_accepted_tokens_total",
        "draft_forward_seconds_total",
        "inter_token_latency_seconds_sum",
        "inter_token_latency_seconds_count",
    }
)
# By one label beside the model's name.
LABELLED_COUNTERS = {"spec_decode_num_accepted_tokens_per_pos_total": "position", "step_seconds_total": "part"}
AVERAGED_GAUGES = frozenset({"num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"})
LATEST_GAUGES = frozenset(
    {
        "max_num_seqs",
        "max_batched_tokens",
        "speculation_goodput_gain",
        "draft_goodput_gain",
        "speculation_allowed",
        "draft_connected",
        "draft_incompatible",
        "step_time_sequence_seconds",
        "draft_level_seconds",
        "draft_level_sequence_seconds",
    }
)
LABELLED_GAUGES = {"step_time_seconds": "tokens"}
HISTOGRAMS = frozenset({"time_to_first_token_seconds", "inter_token_latency_seconds"})
# Of a target that does not say: that of the resource.
DEFAULT_CHUNK_TOKENS = 512.0
WANTED = COUNTERS | LABELLED_COUNTERS.keys() | AVERAGED_GAUGES | LATEST_GAUGES | LABELLED_GAUGES.keys() | HISTOGRAMS


def read_twice(readings: Readings) -> bool:
    """Whether there is a rate: it has two readings."""
    return _length_s(readings) > 0


def signals(
    targets: Sequence[Readings],
    drafts: Sequence[Readings],
    newest: Sequence[Readings] | None = None,
    newest_drafts: Sequence[Readings] | None = None,
) -> Signals | None:
    """None where no target was read twice.

    newest, newest_drafts: those of the newest revision, by which it is judged what steps take and trees earn: figures
    of two models or images are not mixed. None: all. What clients ask and meet is of all targets, whatever their
    revision.
    """
    read = [each for each in targets if read_twice(each)]
    if not read:
        return None
    own = [each for each in newest if read_twice(each)] if newest is not None else read
    window_s = max(map(_length_s, read))
    shares = [_served_s(each, window_s) / window_s for each in read]
    pairs = [pair for each in read for pair in pairwise(each)]
    own_pairs = [pair for each in own for pair in pairwise(each)]
    trees = grown(own_pairs, "spec_decode_num_drafts_total")
    chunk_tokens = max(each[-1].values.get("max_batched_tokens", DEFAULT_CHUNK_TOKENS) for each in own)
    return Signals(
        window_s=window_s,
        pods=len(read),
        requests_per_s=_per_second(read, shares, "requests_arrived_total"),
        prompt_tokens_per_s=_per_second(read, shares, "prompt_tokens_total"),
        generated_tokens_per_s=_per_second(read, shares, "generation_tokens_total"),
        running=_mean(read, shares, "num_requests_running"),
        waiting=_mean(read, shares, "num_requests_waiting"),
        kv_usage=_mean(read, shares, "kv_cache_usage_perc") / len(read),
        max_sequences=int(max(each[-1].values.get("max_num_seqs", 0.0) for each in own)),
        step_time=_step_time([each[-1] for each in own], chunk_tokens),
        draft_time=_draft_time([each[-1] for each in (drafts if newest_drafts is None else newest_drafts) if each]),
        path_acceptance=_path_acceptance(own_pairs, trees),
        nodes_per_depth=share(own_pairs, "spec_decode_num_draft_tokens_total", "spec_decode_num_draft_levels_total")
        or 1.0,
        tokens_per_step=figures.tokens_per_step(own_pairs),
        gain=_gain(own, "speculation_goodput_gain"),
        draft_gain=_gain(own, "draft_goodput_gain"),
        acceptance_rate=figures.acceptance_rate(own_pairs),
        ttft_p95_s=figures.ttft_p95_s(pairs),
        itl_p95_s=figures.itl_p95_s(pairs),
        itl_mean_s=share(pairs, "inter_token_latency_seconds_sum", "inter_token_latency_seconds_count"),
        chunk_tokens=chunk_tokens,
        draft_wait_share=figures.draft_wait_share(pairs),
        draft_busy=_busy(drafts),
    )


@dataclass(frozen=True)
class Speaking:
    """How targets and drafts get along, as the targets last said. Of `targets` that answered: how many may speculate,
    how many have a draft, and how many have refused one.
    """

    targets: int
    allowed: int
    connected: int
    refusing: int


def speaking(targets: Iterable[Readings]) -> Speaking:
    """A target that does not say whether it may, may."""
    latest = [each[-1] for each in targets if each]
    return Speaking(
        targets=len(latest),
        allowed=sum(each.values.get("speculation_allowed", 1.0) > 0 for each in latest),
        connected=sum(each.values.get("draft_connected", 0.0) > 0 for each in latest),
        refusing=sum(refuses(each) for each in latest),
    )


def refuses(latest: Scrape) -> bool:
    """Whether the target has refused a draft; which one and why it says on /health."""
    return latest.values.get("draft_incompatible", 0.0) > 0


def _length_s(readings: Readings) -> float:
    return readings[-1].at_s - readings[0].at_s if readings else 0.0


def _served_s(readings: Readings, window_s: float) -> float:
    """For how long of the window that all targets have in common one has served. One that has joined hands over
    nothing of what the others did before: five at 60 s of 6 tokens/s, and a sixth at 15 s of 5, are not 35.

    Counters begin at nothing with the process: what stood at the first reading tells how long it had served before,
    at the pace since. So one that is read anew, after an outage of its own, counts in full.
    """
    length_s = _length_s(readings)
    before = readings[0].values.get("generation_tokens_total", 0.0)
    since = grown(pairwise(readings), "generation_tokens_total")
    if since <= 0:
        return window_s if before > 0 else length_s
    return min(window_s, length_s * (1 + before / since))


def _per_second(targets: Sequence[Readings], shares: Sequence[float], counter: str) -> float:
    """Of all together. shares: of the common window, in which each has served."""
    return sum(
        share * grown(pairwise(each), counter) / _length_s(each) for each, share in zip(targets, shares, strict=True)
    )


def _mean(targets: Sequence[Readings], shares: Sequence[float], gauge: str) -> float:
    """Of all together, over the common window. shares: of it, in which each has served."""
    return sum(
        share * fmean(reading.values.get(gauge, 0.0) for reading in each)
        for each, share in zip(targets, shares, strict=True)
    )


def _step_time(latest: Sequence[Scrape], chunk_tokens: float) -> StepTime | None:
    """The mean of what the targets have fitted, at every width at which one has."""
    fitted = [each for each in map(_fitted, latest) if each is not None]
    if not fitted:
        return None
    widths = sorted({tokens for each in fitted for tokens, _ in each.curve})
    curve = tuple((tokens, fmean(each.of(tokens) for each in fitted)) for tokens in widths)
    # A chunk of a prompt fills a step; between one token and that many, one costs the same as another.
    (narrow, first_s), (wide, last_s) = curve[0], next((at for at in curve if at[0] >= chunk_tokens), curve[-1])
    per_token_s = (last_s - first_s) / (wide - narrow) if wide > narrow else first_s / narrow
    return StepTime(curve, fmean(each.sequence_s for each in fitted), max(0.0, per_token_s))


def _fitted(latest: Scrape) -> StepTime | None:
    told = ((_width(tokens), seconds) for tokens, seconds in latest.by_label("step_time_seconds").items())
    curve = tuple(sorted((tokens, seconds) for tokens, seconds in told if tokens is not None and seconds > 0))
    return StepTime(curve, latest.values.get("step_time_sequence_seconds", 0.0)) if curve else None


def _width(label: str) -> float | None:
    """Tokens of a step; None where the label is no number of them."""
    try:
        tokens = float(label)
    except ValueError:
        return None
    return tokens if isfinite(tokens) and tokens >= 1 else None


def _draft_time(latest: Sequence[Scrape]) -> DraftTime | None:
    fitted = [each.values for each in latest if each.values.get("draft_level_seconds", 0.0) > 0]
    if not fitted:
        return None
    return DraftTime(
        fmean(each["draft_level_seconds"] for each in fitted),
        fmean(each.get("draft_level_sequence_seconds", 0.0) for each in fitted),
    )


def _path_acceptance(pairs: Sequence[Ends], trees: float) -> tuple[float, ...]:
    """Never more of the deeper: a path to depth 3 is one to depth 2. Ends where nothing was accepted any more."""
    found: list[float] = []
    while trees > 0:
        accepted = grown(pairs, f"spec_decode_num_accepted_tokens_per_pos_total{{{len(found)}}}")
        if accepted <= 0:
            break
        found.append(min(accepted / trees, found[-1] if found else 1.0))
    return tuple(found)


def _gain(targets: Sequence[Readings], gauge: str) -> float | None:
    """Weighed by what each generated: a target without requests still shows the gain of its last ones."""
    told = [(grown(pairwise(each), "generation_tokens_total"), each[-1]) for each in targets]
    told = [(tokens, last) for tokens, last in told if tokens > 0 and gauge in last.values]
    if not told:
        return None
    return sum(tokens * last.values[gauge] for tokens, last in told) / sum(tokens for tokens, _ in told)


def _busy(drafts: Iterable[Readings]) -> float | None:
    shares = [
        min(1.0, grown(pairwise(each), "draft_forward_seconds_total") / _length_s(each))
        for each in drafts
        if _length_s(each) > 0
    ]
    return fmean(shares) if shares else None
