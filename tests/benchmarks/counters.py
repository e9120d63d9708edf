"""How a target's counters moved during a run."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

PREFIX = "outrider_"
COUNTED = frozenset(
    {
        "decode_tokens",
        "decode_steps",
        "decode_sequence_steps",
        "draft_asked",
        "draft_tree_hits",
        "spec_decode_num_drafts",
        "spec_decode_num_draft_tokens",
        "spec_decode_num_accepted_tokens",
        "spec_decode_num_near_ties",
        "step_seconds",
    }
)
# When the target had the first token; its text can lie a token later, when a character is incomplete.
FIRST_TOKEN = "time_to_first_token_seconds_sum"


def parse_counters(exposition: str) -> dict[str, float]:
    """The counters of interest from /metrics, without prefix and `_total`; `step_seconds.PART` for those by part."""
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            name = sample.name.removeprefix(PREFIX)
            if name == FIRST_TOKEN:
                values[name] = values.get(name, 0.0) + sample.value
            elif name.endswith("_total") and name.removesuffix("_total") in COUNTED:
                part = sample.labels.get("part")
                key = name.removesuffix("_total") + (f".{part}" if part else "")
                values[key] = values.get(key, 0.0) + sample.value
    return values


def parse_gauge(exposition: str, name: str) -> float:
    """A gauge from /metrics, by its name without prefix. Raises KeyError when it is not there."""
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == PREFIX + name:
                return float(sample.value)
    raise KeyError(name)


def moved(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What was added; a counter that had not been there began at 0."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}
