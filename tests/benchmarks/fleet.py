"""The systems of a comparison, up at once and asleep but for the one that runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.hf import GENERATE, HfGenerate, HfWorker, generate_flags
from benchmarks.identity import Bench
from benchmarks.pods import Pods
from benchmarks.runs import Backend
from benchmarks.systems import VARIANTS, Case, Pair, System, Variant, resource

DTYPE = "bfloat16"
PROCESS_BYTES = 400 * 2**20


@dataclass(frozen=True)
class Plan:
    """What the systems have in common."""

    pair: Pair
    draft_dtype: str
    max_model_len_tokens: int
    mend_transformers: bool


def needed_bytes(target_bytes: int, draft_bytes: int) -> int:
    """Memory of the largest comparison: every process has a copy of its weights, and the file is read besides."""
    targets, drafts = 3, 2
    return (targets + 1) * target_bytes + drafts * draft_bytes + (targets + drafts) * PROCESS_BYTES


class Fleet:
    """Starts the systems one after another: what a server measures of itself at its start needs a quiet machine."""

    def __init__(self, plan: Plan, bench: Bench) -> None:
        self.backends: dict[System, Backend] = {}
        self.commands: dict[str, list[str]] = {}
        self._plan = plan
        self._bench = bench
        self._stops: list[Backend] = []

    def pids(self) -> list[int]:
        return sorted({pid for backend in self.backends.values() for pid in backend.pids()})

    async def start(self, cases: Iterable[Case], say: Callable[[str], None]) -> None:
        """Those of the cases. Raises BenchError, or LocalError when this machine cannot run one of them."""
        for system in dict.fromkeys(case.system for case in cases):
            if system not in self.backends:
                say(f"starting {system.value}")
                await self._start(system)

    async def _start(self, system: System) -> None:
        if system in VARIANTS:
            await self._outrider(system, VARIANTS[system])
        else:
            await self._transformers()

    async def _transformers(self) -> None:
        worker = HfWorker(self._bench.folder / "hf.log")
        self._stops.append(HfGenerate(worker, assisted=False))
        pair, path = self._plan.pair, self._bench.path
        draft = None if pair.draft is None else path(pair.draft)
        mend = self._plan.mend_transformers
        await worker.start(GENERATE, generate_flags(path(pair.target), draft, DTYPE, self._plan.draft_dtype, mend=mend))
        self.backends[System.HF_GENERATE] = HfGenerate(worker, assisted=False)
        self.backends[System.HF_ASSISTED] = HfGenerate(worker, assisted=True)

    async def _outrider(self, system: System, variant: Variant) -> None:
        pair, cores, own = self._plan.pair, self._bench.cores, variant.own_cores
        model = resource(
            system.value,
            f"hf://{pair.target}",
            f"hf://{pair.draft}" if pair.draft is not None and variant.drafted else None,
            mode=variant.mode,
            dtype=DTYPE,
            draft_dtype=self._plan.draft_dtype,
            max_model_len_tokens=self._plan.max_model_len_tokens,
            ngrams=variant.ngrams,
            int8_draft=variant.int8_draft,
            own_cores=(len(cores.target), len(cores.draft)) if own else None,
        )
        # Alone the target would have its threads and be free to run anywhere.
        pinned = cores.target if own and variant.mode == "Off" else None
        pods = Pods(model, self._bench.mirror, self._bench.folder, pinned)
        self._stops.append(pods)
        self.commands[system.value] = pods.commands()
        await pods.start()
        self.backends[system] = pods

    async def stop(self) -> None:
        for backend in self._stops:
            await backend.stop()
        self._stops.clear()
        self.backends.clear()
