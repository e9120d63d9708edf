"""One reading of a role's /metrics, reduced to what rates are computed from."""

from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

PREFIX = "outrider_"
MODEL_NAME = "model_name"


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


def parse_scrape(text: str, at_s: float, run: int) -> Scrape:
    """Reads the Prometheus text format.

    Raises ValueError when it is not that.
    """
    values: dict[str, float] = {}
    buckets: dict[str, dict[float, float]] = {}
    for family in text_string_to_metric_families(text):
        if not family.name.startswith(PREFIX):
            continue
        for sample in family.samples:
            name = sample.name.removeprefix(PREFIX)
            if name.endswith("_bucket") and "le" in sample.labels:
                of_name = buckets.setdefault(name.removesuffix("_bucket"), {})
                bound = float(sample.labels["le"])
                of_name[bound] = of_name.get(bound, 0.0) + sample.value
            elif not name.endswith("_created"):
                values[name] = values.get(name, 0.0) + sample.value
                for label, value in sample.labels.items():
                    if label != MODEL_NAME:
                        one = f"{name}{{{value}}}"
                        values[one] = values.get(one, 0.0) + sample.value
    return Scrape(at_s, run, values, buckets)
