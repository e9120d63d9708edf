"""All systems of a comparison, up at once and asleep but for the one that runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hf import HfGenerate, HfWorker
from benchmarks.identity import Bench
from benchmarks.pods import Pods
from benchmarks.runs import Backend
from benchmarks.systems import Mode, Pair, System, resource

DTYPE = "bfloat16"
PROCESS_BYTES = 400 * 2**20


@dataclass(frozen=True)
class Plan:
    """What the systems have in common."""

    pair: Pair
    draft_dtype: str
    max_model_len_tokens: int
    own: bool  # also with the draft on cores of its own
    mend_transformers: bool


def needed_bytes(target_bytes: int, draft_bytes: int, *, own: bool) -> int:
    """Memory of all systems at once: a server packs a copy of its weights, transformers keeps to the files' pages."""
    targets, drafts = (4, 2) if own else (2, 1)
    return (targets + 1) * target_bytes + (drafts + 1) * draft_bytes + PROCESS_BYTES * (targets + drafts + 1)


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

    async def start(self, say: Callable[[str], None]) -> None:
        """Raises BenchError, or LocalError when this machine cannot run one of them."""
        await self._outrider(System.OUTRIDER, "Auto", say)
        await self._outrider(System.OUTRIDER_OFF, "Off", say)
        if self._plan.own:
            await self._outrider(System.OWN, "Auto", say, own=True)
            await self._outrider(System.OWN_OFF, "Off", say, own=True)
        say("starting transformers")
        worker = HfWorker(self._bench.folder / "hf.log")
        self._stops.append(HfGenerate(worker, assisted=False))
        await worker.start(
            self._path(self._plan.pair.target),
            None if self._plan.pair.draft is None else self._path(self._plan.pair.draft),
            DTYPE,
            self._plan.draft_dtype,
            mend=self._plan.mend_transformers,
        )
        self.backends[System.HF_GENERATE] = HfGenerate(worker, assisted=False)
        self.backends[System.HF_ASSISTED] = HfGenerate(worker, assisted=True)

    async def _outrider(self, system: System, mode: Mode, say: Callable[[str], None], *, own: bool = False) -> None:
        say(f"starting {system.value}")
        pair, cores = self._plan.pair, self._bench.cores
        model = resource(
            system.value,
            f"hf://{pair.target}",
            None if pair.draft is None else f"hf://{pair.draft}",
            mode=mode,
            dtype=DTYPE,
            draft_dtype=self._plan.draft_dtype,
            max_model_len_tokens=self._plan.max_model_len_tokens,
            own_cores=(len(cores.target), len(cores.draft)) if own else None,
        )
        # Alone the target would have its threads and be free to run anywhere.
        pinned = cores.target if own and mode == "Off" else None
        pods = Pods(model, self._bench.mirror, self._bench.folder, pinned)
        self._stops.append(pods)
        self.commands[system.value] = pods.commands()
        await pods.start()
        self.backends[system] = pods

    def _path(self, model: str) -> Path:
        return self._bench.path(model)

    async def stop(self) -> None:
        for backend in self._stops:
            await backend.stop()
        self._stops.clear()
        self.backends.clear()
