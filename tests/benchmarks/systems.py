"""What is compared: the systems of each pair, and the resource that each of Outrider's is started from. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_serving.models.catalogue import QWEN_CODER_0_5B, QWEN_CODER_1_5B, SMOLLM2_135M

Mode = Literal["Auto", "Always", "Off"]


class System(StrEnum):
    """The names are the keys of the JSON."""

    OUTRIDER = "outrider"  # speculating; draft and target share all cores and take turns
    OUTRIDER_OFF = "outrider_off"  # mode Off, on all cores
    HF_GENERATE = "hf_generate"  # transformers generate, on all cores
    HF_ASSISTED = "hf_assisted"  # transformers assisted generation, same draft (or prompt lookup), on all cores
    OWN = "own"  # speculating; target and draft each on cores of its own
    OWN_OFF = "own_off"  # mode Off, on the target's cores of `own`
    OUTRIDER_INT8 = "outrider_int8"  # as outrider, the draft's weights in 8 bits
    OWN_INT8 = "own_int8"  # as own, likewise
    DRAFT_ONLY = "draft_only"  # as outrider, without n-grams
    NGRAMS_ONLY = "ngrams_only"  # as outrider, without the draft


@dataclass(frozen=True)
class Variant:
    """How one of Outrider's systems is set up."""

    mode: Mode
    own_cores: bool = False
    drafted: bool = True  # by the pair's draft, where it has one
    ngrams: bool = True
    int8_draft: bool = False


VARIANTS = {
    System.OUTRIDER: Variant("Auto"),
    System.OUTRIDER_OFF: Variant("Off"),
    System.OWN: Variant("Auto", own_cores=True),
    System.OWN_OFF: Variant("Off", own_cores=True),
    System.OUTRIDER_INT8: Variant("Auto", int8_draft=True),
    System.OWN_INT8: Variant("Auto", own_cores=True, int8_draft=True),
    System.DRAFT_ONLY: Variant("Auto", ngrams=False),
    System.NGRAMS_ONLY: Variant("Auto", drafted=False),
}


class Case(NamedTuple):
    """A system under one temperature: what is run once a prompt."""

    system: System
    temperature: float

    @property
    def label(self) -> str:
        return self.system if self.temperature == 0 else f"{self.system} T={self.temperature:g}"


@dataclass(frozen=True)
class Pair:
    """Names of the models on a hub and in the mirror, and which set of `outrider-models prepare` holds them."""

    name: str
    target: str
    draft: str | None
    prepared_by: str
    # So that a run takes some 25 minutes on two cores at most.
    per_category: int
    tokens: int

    @property
    def drafted_by(self) -> str:
        return self.draft or "n-grams"


PAIR_Q = Pair("q", QWEN_CODER_1_5B.hub_name, QWEN_CODER_0_5B.hub_name, "qwen-coder", per_category=1, tokens=48)
PAIR_S = Pair("s", SMOLLM2_135M.hub_name, None, "smollm2", per_category=3, tokens=64)
PAIRS = {pair.name: pair for pair in (PAIR_Q, PAIR_S)}


@dataclass(frozen=True)
class Cores:
    """The logical CPUs of the machine, dealt out."""

    all: tuple[int, ...]
    target: tuple[int, ...]  # where the target has its own
    draft: tuple[int, ...]  # empty on a machine of one core: nothing can have its own

    @classmethod
    def split(cls, available: Sequence[int]) -> Cores:
        """Halves, the target's the larger one; on two cores one each."""
        half = (len(available) + 1) // 2
        return cls(tuple(available), tuple(available[:half]), tuple(available[half:]))


def parts(pair: Pair, cores: Cores, wanted: Collection[System] = tuple(System)) -> list[list[Case]]:
    """The comparisons of a pair, one after another; what is compared with each other is loaded at once.

    Not all ten: more than four would push others' weights out of the memory of the machine that a pair is meant for.
    A comparison needs two of the systems wanted; those that have no other are run alone.
    """
    shared = [System.OUTRIDER, System.OUTRIDER_OFF, System.HF_GENERATE, System.HF_ASSISTED]
    sampled = [System.OUTRIDER, System.OUTRIDER_OFF]
    found = [[Case(system, 0.0) for system in shared] + [Case(system, 1.0) for system in sampled]]
    if pair.draft is not None:
        found.append(_greedy(System.OUTRIDER_OFF, System.OUTRIDER_INT8))
        found.append(_greedy(System.OUTRIDER, System.DRAFT_ONLY, System.NGRAMS_ONLY))
        if cores.draft:
            found.append(_greedy(System.OWN, System.OWN_OFF, System.OWN_INT8))
    chosen = [[case for case in part if case.system in wanted] for part in found]
    return [part for part in chosen if len({case.system for case in part}) > 1] or [part for part in chosen if part]


def _greedy(*systems: System) -> list[Case]:
    return [Case(system, 0.0) for system in systems]


def rotated(all_cases: Sequence[Case], by: int) -> list[Case]:
    """The same cases, another one first: no system always runs after the same one."""
    start = by % len(all_cases)
    return [*all_cases[start:], *all_cases[:start]]


def resource(
    name: str,
    target: str,
    draft: str | None,
    *,
    mode: Mode,
    dtype: str,
    draft_dtype: str,
    max_model_len_tokens: int,
    max_num_seqs: int = 8,
    kv_cache_memory: str = "256Mi",
    ngrams: bool = True,
    int8_draft: bool = False,
    own_cores: tuple[int, int] | None = None,
) -> SpeculativeModel:
    """The resource of one system. target, draft: URIs. own_cores: how many target and draft ask for, None to share.

    kv_cache_memory: of each role, the same for every system: left to themselves each would take half of what is free.
    """
    limits: dict[str, Any] = {
        "maxModelLen": max_model_len_tokens,
        "maxNumSeqs": max_num_seqs,
        "kvCache": {"memory": kv_cache_memory},
    }
    spec: dict[str, Any] = {
        "target": {"model": {"uri": target}, "dtype": dtype, **limits},
        "speculation": {"mode": mode, "fallback": "NGram" if ngrams else "None"},
    }
    if draft is not None:
        spec["draft"] = {"model": {"uri": draft}, "dtype": draft_dtype, **limits}
        if int8_draft:
            spec["draft"]["quantization"] = "int8"
    if own_cores is not None:
        for role, cpus in zip(("target", "draft"), own_cores, strict=True):
            if role in spec:
                spec[role]["resources"] = {"requests": {"cpu": cpus}}
    return SpeculativeModel.model_validate(
        {
            "apiVersion": "outrider.dev/v1alpha1",
            "kind": "SpeculativeModel",
            "metadata": {"name": name.replace("_", "-")},
            "spec": spec,
        }
    )
