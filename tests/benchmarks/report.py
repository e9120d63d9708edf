"""The JSON of a run: every figure, and the raw measurements that it comes from. README.md explains every key."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import (
    Speculation,
    categories_of,
    decode_tok_s,
    differences,
    median_rate,
    of_case,
    ratio,
)
from benchmarks.goals import (
    GOALS,
    HF_GENERATE,
    OUTRIDER,
    OUTRIDER_OFF,
    RATIOS,
    SAMPLED,
    SAMPLED_OFF,
)
from benchmarks.runs import Run
from benchmarks.systems import VARIANTS, Case, System

Encode = Callable[[str], Sequence[int]]
Json = dict[str, Any]

SERVED = tuple(VARIANTS)
SPECULATING = tuple(system for system, variant in VARIANTS.items() if variant.mode != "Off")


def build(
    pair: str,
    runs: Sequence[Run],
    identity: Sequence[Mapping[str, Any]],
    encode: Encode,
    *,
    complete: bool,
) -> Json:
    """All but settings and machine. Tokens a second are medians over prompts; None where nothing was run."""
    speculation = {system: _speculation(runs, system) for system in SERVED}
    return {
        "complete": complete,
        **{system.value: median_rate(runs, Case(system, 0.0)) for system in System},
        "decode_tok_s": {system.value: median_rate(runs, Case(system, 0.0), rate=decode_tok_s) for system in System},
        "ratios": _ratios(runs),
        "accepted_per_step": speculation[System.OUTRIDER].accepted_per_step,
        "tree_hit_rate": speculation[System.OUTRIDER].tree_hit_rate,
        "step_split_ms": {system.value: of.step_split_ms for system, of in speculation.items() if of.step_split_ms},
        "speculation": {system.value: vars(speculation[system]) for system in SPECULATING},
        "temperature_1": _temperature_1(runs, encode),
        "by_category": {category: _category(runs, category) for category in categories_of(runs)},
        **_differences(runs, encode),
        "identical": identical(identity),
        "identity": list(identity),
        "goals": [goal.judge(runs) for goal in GOALS[pair]],
        "quiet": quiet(runs),
        "runs": [run.record() for run in runs],
    }


def _speculation(runs: Sequence[Run], system: System) -> Speculation:
    return Speculation.of(of_case(runs, Case(system, 0.0)))


def _ratios(runs: Sequence[Run], categories: set[str] | None = None) -> Json:
    return {
        name: {
            "total": ratio(runs, case, against, categories),
            "decode": ratio(runs, case, against, categories, decode_tok_s),
        }
        for name, (case, against) in RATIOS.items()
        if ratio(runs, case, against, categories) is not None
    }


def _temperature_1(runs: Sequence[Run], encode: Encode) -> Json:
    return {
        "outrider": median_rate(runs, SAMPLED),
        "outrider_off": median_rate(runs, SAMPLED_OFF),
        "ratio": ratio(runs, SAMPLED, SAMPLED_OFF),
        "ratio_decode": ratio(runs, SAMPLED, SAMPLED_OFF, rate=decode_tok_s),
        "accepted_per_step": Speculation.of(of_case(runs, SAMPLED)).accepted_per_step,
        "bf16_differences": differences(runs, SAMPLED, SAMPLED_OFF, encode),
    }


def _category(runs: Sequence[Run], category: str) -> Json:
    speculation = Speculation.of(of_case(runs, OUTRIDER, {category}))
    return {
        "prompts": len({run.prompt for run in runs if run.category == category}),
        **{system.value: median_rate(runs, Case(system, 0.0), {category}) for system in System},
        "ratios": _ratios(runs, {category}),
        "temperature_1": ratio(runs, SAMPLED, SAMPLED_OFF, {category}),
        "accepted_per_step": speculation.accepted_per_step,
        "tree_hit_rate": speculation.tree_hit_rate,
    }


def _differences(runs: Sequence[Run], encode: Encode) -> Json:
    found = {
        "outrider/outrider_off": differences(runs, OUTRIDER, OUTRIDER_OFF, encode),
        "outrider_off/hf_generate": differences(runs, OUTRIDER_OFF, HF_GENERATE, encode),
    }
    speculating = found["outrider/outrider_off"]
    return {
        "bf16_differing_share": None if speculating is None else speculating["share"],
        "bf16_differences": found,
    }


def identical(identity: Sequence[Mapping[str, Any]]) -> bool | None:
    """Whether every phase that could be run was; None when none was."""
    known = [phase["identical"] for phase in identity if phase["identical"] is not None]
    return all(known) if known else None


def quiet(runs: Sequence[Run]) -> Json | None:
    """Shares of one core that went elsewhere while a system ran."""
    if not runs:
        return None
    others = [run.others_cpu_share for run in runs]
    foreign = [run.foreign_cpu_share for run in runs]
    return {
        "others_cpu_share_max": max(others),
        "others_cpu_share_median": median(others),
        "foreign_cpu_share_max": max(foreign),
        "foreign_cpu_share_median": median(foreign),
    }


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Replaces the file at once: whoever reads it finds a whole one. Raises OSError."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(file)
