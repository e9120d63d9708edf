"""Whether speculation changes tokens, in float32, where it must not: with it, without it, and by transformers.

Nothing is timed here, so the systems run one after another and memory holds one at a time. Mode is Always: Auto would
soon leave a bad draft alone, and then there would be nothing to see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_serving import loading
from outrider_serving.models.cache import size_bytes
from outrider_serving.models.slice import slice_layers

from benchmarks.figures import first_difference
from benchmarks.hf import GENERATE, HfGenerate, HfWorker, generate_flags
from benchmarks.pods import Pods
from benchmarks.prompts import Prompt
from benchmarks.runs import Backend
from benchmarks.systems import PAIR_Q, PAIR_S, Cores, Mode, Pair, resource

DTYPE = "float32"
TEMPERATURES = (0.0, 1.0)
FIRST_LAYERS = 4
REFERENCE = "off"
HF = "hf_generate"
# The files are bfloat16: twice as large in float32, and at most as much again for the draft.
MEMORY_OF_FILES = 4

Texts = dict[tuple[str, float], str]  # by prompt and temperature


@dataclass(frozen=True)
class Drafting:
    """One way of speculating that is held against mode Off."""

    name: str
    draft: str | None  # URI
    own_cores: bool = False


@dataclass(frozen=True)
class Phase:
    """A model, and how much of it is compared."""

    model: str
    prompts: int
    tokens: int


def phases(pair: Pair, tokens: int) -> list[Phase]:
    """S over a few prompts, whatever the pair: it is quick. Pair Q besides, as much as its size allows."""
    found = [Phase(PAIR_S.target, prompts=3, tokens=min(32, tokens))]
    return found + ([Phase(PAIR_Q.target, prompts=2, tokens=min(16, tokens))] if pair is PAIR_Q else [])


@dataclass(frozen=True)
class Bench:
    """What starting a system needs."""

    mirror: str
    folder: Path
    cores: Cores
    say: Callable[[str], None]

    def path(self, model: str) -> Path:
        return loading.resolve(f"hf://{model}", mirror=self.mirror)


def draftings(phase: Phase, bench: Bench) -> list[Drafting]:
    """S: n-grams, a draft that hardly ever agrees, and one that always does and runs ahead. Q: its own draft."""
    if phase.model == PAIR_Q.target:
        return [Drafting("draft", f"hf://{PAIR_Q.draft}")]
    layers = bench.folder / "first-layers"
    if not layers.exists():
        slice_layers(bench.path(phase.model), layers, FIRST_LAYERS)
    return [
        Drafting("ngrams", None),
        Drafting("first_layers", f"file://{layers}"),
        Drafting("itself", f"hf://{phase.model}", own_cores=bool(bench.cores.draft)),
    ]


async def check(phase: Phase, prompts: Sequence[Prompt], bench: Bench) -> dict[str, Any]:
    """The phase as the JSON has it; `identical` is None when there is not the memory for it. Raises BenchError."""
    report: dict[str, Any] = {
        "model": phase.model,
        "dtype": DTYPE,
        "mode": "Always",
        "prompts": len(prompts),
        "tokens": phase.tokens,
        "temperatures": list(TEMPERATURES),
    }
    needed_bytes = MEMORY_OF_FILES * size_bytes(bench.path(phase.model))
    if psutil.virtual_memory().available < needed_bytes:
        return report | {"identical": None, "why": f"needs {needed_bytes / 2**30:.0f} GiB of free memory"}
    texts = {REFERENCE: await _outrider(phase, Drafting(REFERENCE, None), "Off", prompts, bench)}
    for drafting in draftings(phase, bench):
        texts[drafting.name] = await _outrider(phase, drafting, "Always", prompts, bench)
    bench.say(f"float32, {phase.model}: transformers generate")
    worker = HfWorker(bench.folder / "hf-float32.log")
    try:
        await worker.start(GENERATE, generate_flags(bench.path(phase.model), None, DTYPE, DTYPE))
        texts[HF] = await _texts(HfGenerate(worker, assisted=False), prompts, phase.tokens, (0.0,))
    finally:
        await worker.stop()
    return report | compare(texts)


async def _outrider(phase: Phase, drafting: Drafting, mode: Mode, prompts: Sequence[Prompt], bench: Bench) -> Texts:
    bench.say(f"float32, {phase.model}: {drafting.name}")
    pods = Pods(_resource(phase, drafting, mode, prompts, bench), bench.mirror, bench.folder)
    try:
        await pods.start()
        return await _texts(pods, prompts, phase.tokens, TEMPERATURES)
    finally:
        await pods.stop()


def _resource(
    phase: Phase, drafting: Drafting, mode: Mode, prompts: Sequence[Prompt], bench: Bench
) -> SpeculativeModel:
    longest = max(len(prompt.tokens) for prompt in prompts)
    return resource(
        f"float32-{drafting.name}",
        f"hf://{phase.model}",
        drafting.draft,
        mode=mode,
        dtype=DTYPE,
        draft_dtype=DTYPE,
        max_model_len_tokens=longest + phase.tokens,
        own_cores=(len(bench.cores.target), len(bench.cores.draft)) if drafting.own_cores else None,
    )


async def _texts(backend: Backend, prompts: Sequence[Prompt], tokens: int, temperatures: Sequence[float]) -> Texts:
    return {
        (prompt.id, temperature): (await backend.run(prompt, tokens, temperature)).text
        for prompt in prompts
        for temperature in temperatures
    }


def compare(texts: Mapping[str, Texts]) -> dict[str, Any]:
    """Every system against mode Off. `identical` speaks of Outrider's own; transformers' is beside it, greedy only."""
    reference = texts[REFERENCE]
    systems = {name: _differing(reference, its) for name, its in texts.items() if name != REFERENCE}
    own = [differing for name, differing in systems.items() if name != HF]
    return {
        "identical": not any(own),
        "identical_to_hf_generate": not systems[HF],
        "differing": {name: differing for name, differing in systems.items() if differing},
    }


def _differing(reference: Texts, texts: Texts) -> list[dict[str, Any]]:
    """The answers that differ, with the character from which they do."""
    found = []
    for (prompt, temperature), text in texts.items():
        wanted = reference[prompt, temperature].rstrip("\ufffd")
        position = first_difference(list(map(ord, text.rstrip("\ufffd"))), list(map(ord, wanted)))
        if position is not None:
            found.append({"prompt": prompt, "temperature": temperature, "from_character": position})
    return found
