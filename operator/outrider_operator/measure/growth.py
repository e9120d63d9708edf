"""What counters and histograms did between two readings, or several pairs of them. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from outrider_operator.measure.scrape import Scrape

# Two readings of one pod, the earlier one first; one and the same where there has been only one.
Ends = tuple[Scrape, Scrape]


def increase(before: Scrape, after: Scrape, name: str) -> float:
    """How much a counter grew. After a restart all of it is growth, even where it has passed the old one."""
    now = after.values.get(name, 0.0)
    then = before.values.get(name, 0.0)
    return now if before.run != after.run or now < then else now - then


def per_second(before: Scrape, after: Scrape, name: str) -> float:
    """A counter's growth by second of the window; 0 for a window of no length."""
    elapsed_s = after.at_s - before.at_s
    return increase(before, after, name) / elapsed_s if elapsed_s > 0 else 0.0


def quantile(before: Scrape, after: Scrape, name: str, q: float) -> float | None:
    """The q-quantile of what a histogram observed in the window; None when nothing was observed."""
    return quantile_of(grown_buckets(before, after, name), q)


def grown_buckets(before: Scrape, after: Scrape, name: str) -> dict[float, float]:
    """What each bucket of a histogram grew by, cumulative as the buckets are. After a restart all of it is growth."""
    now = after.buckets.get(name, {})
    then = before.buckets.get(name, {})
    if before.run != after.run or any(now.get(bound, 0.0) < count for bound, count in then.items()):
        then = {}
    return {bound: count - then.get(bound, 0.0) for bound, count in now.items()}


def quantile_of(buckets: Mapping[float, float], q: float) -> float | None:
    """The q-quantile of cumulative buckets, interpolated within one; None when they hold nothing.

    What lies above the last finite bound counts as it, as in Prometheus.
    """
    grown = sorted(buckets.items())
    if not grown or grown[-1][1] <= 0:
        return None
    rank = q * grown[-1][1]
    lower_bound, lower_count = 0.0, 0.0
    for bound, count in grown:
        if count >= rank and count > lower_count:
            if bound == float("inf"):
                return lower_bound
            return lower_bound + (bound - lower_bound) * (rank - lower_count) / (count - lower_count)
        lower_bound, lower_count = bound, count
    return lower_bound


def grown(pairs: Iterable[Ends], counter: str) -> float:
    """The growth of all pairs together."""
    return sum(increase(before, after, counter) for before, after in pairs)


def share(pairs: Sequence[Ends], part: str, whole: str) -> float | None:
    """Of what one counter grew by, the part that another did; added before it is divided. None where nothing grew."""
    all_ = grown(pairs, whole)
    return grown(pairs, part) / all_ if all_ > 0 else None


def quantile_of_all(pairs: Iterable[Ends], histogram: str, q: float) -> float | None:
    """The q-quantile of what the histograms of all pairs observed together."""
    together: dict[float, float] = {}
    for before, after in pairs:
        for bound, count in grown_buckets(before, after, histogram).items():
            together[bound] = together.get(bound, 0.0) + count
    return quantile_of(together, q)
