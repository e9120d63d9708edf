"""What the project promises of decoding, and whether a run kept it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import ratio, worst_category
from benchmarks.prompts import COPYING
from benchmarks.runs import Run
from benchmarks.systems import Case, System

# Answers in the model's own words: nothing to look up in the prompt.
OPEN_CHAT = frozenset({"writing", "roleplay", "reasoning", "stem", "humanities", "qa"})

Measure = Callable[[Sequence[Run]], float | None]

OUTRIDER = Case(System.OUTRIDER, 0.0)
OUTRIDER_OFF = Case(System.OUTRIDER_OFF, 0.0)
HF_GENERATE = Case(System.HF_GENERATE, 0.0)
HF_ASSISTED = Case(System.HF_ASSISTED, 0.0)
OWN = Case(System.OWN, 0.0)
OWN_OFF = Case(System.OWN_OFF, 0.0)
OUTRIDER_INT8 = Case(System.OUTRIDER_INT8, 0.0)
OWN_INT8 = Case(System.OWN_INT8, 0.0)
DRAFT_ONLY = Case(System.DRAFT_ONLY, 0.0)
NGRAMS_ONLY = Case(System.NGRAMS_ONLY, 0.0)
SAMPLED = Case(System.OUTRIDER, 1.0)
SAMPLED_OFF = Case(System.OUTRIDER_OFF, 1.0)


@dataclass(frozen=True)
class Goal:
    """A ratio that is to be reached."""

    what: str
    at_least: float
    measure: Measure

    def judge(self, runs: Sequence[Run]) -> dict[str, Any]:
        """`met` is None when what it needs was not run."""
        measured = self.measure(runs)
        met = None if measured is None else measured >= self.at_least
        return {"goal": self.what, "at_least": self.at_least, "measured": measured, "met": met}


def _ratio(case: Case, against: Case, categories: frozenset[str] | None = None) -> Measure:
    return lambda runs: ratio(runs, case, against, categories)


def _worst(*against: Case) -> Measure:
    """The category in which `outrider` does worst against the best of others."""

    def measure(runs: Sequence[Run]) -> float | None:
        found = [worst_category(runs, OUTRIDER, other) for other in against]
        return None if None in found else min(worst[1] for worst in found if worst is not None)

    return measure


GOALS = {
    "q": [
        Goal("greedy, all cores: outrider / outrider_off", 1.6, _ratio(OUTRIDER, OUTRIDER_OFF)),
        Goal("the same, worst category", 1.3, _worst(OUTRIDER_OFF)),
        Goal("temperature 1: outrider / outrider_off", 1.3, _ratio(SAMPLED, SAMPLED_OFF)),
        Goal("8-bit draft, all cores: outrider_int8 / outrider_off", 1.9, _ratio(OUTRIDER_INT8, OUTRIDER_OFF)),
        Goal("draft on cores of its own: own / own_off", 2.0, _ratio(OWN, OWN_OFF)),
        Goal("8-bit draft on cores of its own: own_int8 / own_off", 2.4, _ratio(OWN_INT8, OWN_OFF)),
        Goal("outrider / hf_assisted", 1.3, _ratio(OUTRIDER, HF_ASSISTED)),
        Goal("outrider / better of draft_only and ngrams_only, worst category", 0.97, _worst(DRAFT_ONLY, NGRAMS_ONLY)),
    ],
    "s": [
        Goal("copying: outrider / outrider_off", 2.0, _ratio(OUTRIDER, OUTRIDER_OFF, frozenset({COPYING}))),
        Goal("open chat: outrider / outrider_off", 1.05, _ratio(OUTRIDER, OUTRIDER_OFF, OPEN_CHAT)),
        Goal("plain: outrider_off / hf_generate", 1.25, _ratio(OUTRIDER_OFF, HF_GENERATE)),
    ],
}  # fmt: skip

RATIOS = {
    "outrider/outrider_off": (OUTRIDER, OUTRIDER_OFF),
    "outrider/hf_generate": (OUTRIDER, HF_GENERATE),
    "outrider/hf_assisted": (OUTRIDER, HF_ASSISTED),
    "outrider_off/hf_generate": (OUTRIDER_OFF, HF_GENERATE),
    "hf_assisted/hf_generate": (HF_ASSISTED, HF_GENERATE),
    "outrider_int8/outrider_off": (OUTRIDER_INT8, OUTRIDER_OFF),
    "outrider/draft_only": (OUTRIDER, DRAFT_ONLY),
    "outrider/ngrams_only": (OUTRIDER, NGRAMS_ONLY),
    "own/own_off": (OWN, OWN_OFF),
    "own_int8/own_off": (OWN_INT8, OWN_OFF),
}
