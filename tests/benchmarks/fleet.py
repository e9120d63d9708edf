"""The systems of a comparison, up at once and asleep but for the one that runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.hf import GENERATE, HfGenerate, HfWorker, generate_flags
from benchmarks.identity import Bench
from benchmarks.machine import DTYPE, weights_bytes
from benchmarks.pods import Pods
from benchmarks.runs import Backend
from benchmarks.systems import VARIANTS, Case, Pair, System, Variant, resource

PROCESS_BYTES = 400 * 2**20


@dataclass(frozen=True)
class Plan:
    """What the systems have in common."""

    pair: Pair
    draft_dtype: str
    max_model_len_tokens: int
    mend_transformers: bool


def needed_bytes(part: Sequence[Case], target_file_bytes: int, draft_file_bytes: int, draft_dtype: str) -> int:
    """Memory of a comparison: every process has a copy of its weights, and the target's file is read besides."""
    systems = {case.system for case in part}
    ours = [VARIANTS[system] for system in systems if system in VARIANTS]
    assisted = System.HF_ASSISTED in systems
    targets = len(ours) + (assisted or System.HF_GENERATE in systems)
    drafts = sum(variant.drafted and variant.mode != "Off" for variant in ours) + assisted
    if draft_file_bytes == 0:
        drafts = 0
    weights = targets * weights_bytes(target_file_bytes) + drafts * weights_bytes(draft_file_bytes, draft_dtype)
    return target_file_bytes + weights + (targets + drafts) * PROCESS_BYTES


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
