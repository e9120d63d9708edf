"""One reading of a role's /metrics, reduced to what rates are computed from."""

from collections.abc import Collection
from dataclasses import dataclass, field
from math import isfinite
from sys import intern

from prometheus_client.parser import text_string_to_metric_families

PREFIX = "outrider_"
MODEL_NAME = "model_name"
# Of ours the longest has 200 characters. What the parser takes for a line grows with the square of its labels: for
# one of 770 KiB it is 4 s.
LONGEST_LINE = 8192
COUNTED = ("_total", "_bucket", "_sum", "_count")


@dataclass(frozen=True)
class Scrape:
    """Counters and gauges by name without the prefix, summed over labels; histograms by bucket.

    What a metric says of one value of a label beside the model's name stands as `step_seconds_total{draft_wait}`.
    """

    at_s: float  # a monotonic clock
    run: int  # which start of the process it comes from: counters begin at 0 in each
    values: dict[str, float] = field(default_factory=dict)
    buckets: dict[str, dict[float, float]] = field(default_factory=dict)  # name → upper bound → cumulative count

    def value(self, name: str) -> float | None:
        """The sum over the labels of one metric, None when the process does not export it."""
        return self.values.get(name)

    def by_label(self, name: str) -> dict[str, float]:
        """What the metric says of each value of its label."""
        start = f"{name}{{"
        return {key[len(start) : -1]: value for key, value in self.values.items() if key.startswith(start)}


def parse_scrape(text: str, at_s: float, run: int, wanted: Collection[str] | None = None) -> Scrape:
    """Reads the Prometheus text format. wanted: names, without the prefix, of what is kept; None: everything.

    Raises ValueError when it is not that format, tells nothing that is kept, or a counter that is no finite number:
    one that is left out would seem to begin anew, and its whole life to be growth.
    """
    if max(map(len, text.split("\n"))) > LONGEST_LINE:
        raise ValueError(f"a line of more than {LONGEST_LINE} characters")
    try:
        read = _reduced(text if wanted is None else _only(text, wanted), Scrape(at_s, run), wanted)
    except Exception as error:  # what the parser makes of odd lines is IndexError, and of long numbers OverflowError
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not read.values and not read.buckets:
        raise ValueError("nothing in it is kept")
    return read


def _reduced(text: str, read: Scrape, wanted: Collection[str] | None) -> Scrape:
    """Adds to a reading of nothing."""
    values, buckets = read.values, read.buckets
    for family in text_string_to_metric_families(text):
        if not family.name.startswith(PREFIX):
            continue
        for sample in family.samples:
            # One string for all the readings that are kept: there may be thousands.
            name = intern(sample.name.removeprefix(PREFIX))
            if not isfinite(sample.value):
                if name.endswith(COUNTED):
                    raise ValueError(f"{name} is {sample.value}")
                continue
            if name.endswith("_bucket") and "le" in sample.labels:
                histogram = intern(name.removesuffix("_bucket"))
                if wanted is None or histogram in wanted:
                    of_name = buckets.setdefault(histogram, {})
                    bound = float(sample.labels["le"])
                    of_name[bound] = of_name.get(bound, 0.0) + sample.value
            elif (name in wanted) if wanted is not None else not name.endswith("_created"):
                values[name] = values.get(name, 0.0) + sample.value
                for label, value in sample.labels.items():
                    if label != MODEL_NAME:
                        one = intern(f"{name}{{{value}}}")
                        values[one] = values.get(one, 0.0) + sample.value
    return read


def _only(text: str, wanted: Collection[str]) -> str:
    """The lines that are wanted, for the parser takes 10 µs a line. All where none is: it may be no metrics."""
    kept = []
    for line in text.splitlines():
        name = line.partition("{")[0].partition(" ")[0].removeprefix(PREFIX)
        if name in wanted or name.removesuffix("_bucket") in wanted:
            kept.append(line)
    return "\n".join(kept) + "\n" if kept else text
