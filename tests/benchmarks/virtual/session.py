"""One benchmark in virtual time from start to end: every point through every system, and the JSON after each."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from outrider_operator.local.mirror import model_mirror
from outrider_serving import loading
from outrider_serving.cli import FlagError
from outrider_serving.engine.attention import ATTENTION
from outrider_serving.engine.kv_pool import blocks_for
from outrider_serving.engine.request import SamplingParams
from outrider_serving.target.speculation import SpeculationPolicy
from support.virtual import Asked, Clock, Cost, Costly, Machine, Server
from transformers import PreTrainedModel

from benchmarks import machine, tables
from benchmarks import report as reports
from benchmarks.load.points import Contender, Point, Scale, plan
from benchmarks.load.workload import Request, Workload
from benchmarks.machine import DTYPE
from benchmarks.prompts import questions_of
from benchmarks.screen import Screen
from benchmarks.session import not_prepared
from benchmarks.systems import PAIR_S, Pair
from benchmarks.virtual import kinds
from benchmarks.virtual.report import Result, System, build
from benchmarks.virtual.tables import show

POLICIES = {
    System.ON: SpeculationPolicy(),
    System.OFF: SpeculationPolicy(mode="Off"),
    System.DRAFT_ONLY: SpeculationPolicy(ngrams=False),
    System.NGRAMS_ONLY: SpeculationPolicy(),
}
DRAFTED = (System.ON, System.DRAFT_ONLY)


@dataclass(frozen=True)
class Settings:
    """The command line, checked."""

    pair: Pair
    json: Path
    prompts: Path
    kind: kinds.Kind
    scale: Scale
    loads: tuple[int, ...]
    systems: tuple[System, ...]
    temperatures: tuple[float, ...]
    only: tuple[str, ...]


class Session:
    """Runs what the settings ask for."""

    def __init__(self, settings: Settings) -> None:
        """Raises FlagError when the models or the prompts are not to be had."""
        mirror = model_mirror(None, os.environ)
        if mirror is None:
            raise FlagError("--pair", not_prepared(settings.pair))
        self._settings = settings
        self._mirror = mirror
        self._screen = Screen(tables.console())
        try:
            tokenizer = loading.load_tokenizer(self._path(settings.pair.target))
        except ValueError as error:
            raise FlagError("--pair", str(error)) from None
        questions = questions_of(settings.prompts, copying=settings.pair is PAIR_S)
        self._workload = Workload(questions, tokenizer, settings.scale)
        known = self._workload.categories
        for category in settings.only:
            if category not in known:
                raise FlagError("--only", f"no category {category}; choose from {', '.join(known)}")
        chosen = [category for category in known if category in (settings.only or known)]
        # Those of a load benchmark, without transformers.
        self._points = plan(
            settings.scale, settings.loads, chosen, [Contender.ON, Contender.OFF], settings.temperatures
        )
        self._results: list[Result] = []

    def run(self) -> None:
        """Serves, writes and shows. All in the caller's thread: a server has one, and Ctrl-C comes between forwards."""
        about = {"machine": machine.describe(), "kind": self._settings.kind.value}
        complete = False
        try:
            with self._screen:
                servers, counted = self._start()
                about["counted"] = kinds.describe(counted)
                self._screen.begin(len(self._points))
                started_s = time.monotonic()
                for done, point in enumerate(self._points, 1):
                    result = self._result(point, servers)
                    self._results.append(result)
                    self._save(about, complete=False)
                    left_s = (time.monotonic() - started_s) / done * (len(self._points) - done)
                    self._screen.step(_said(result), done, len(self._points), left_s)
            complete = True
        finally:
            content = self._save(about, complete=complete)
            show(self._screen.console, content)
            what = "counted" if complete else "stopped; what was counted is"
            self._screen.console.print(f"{what}: {self._settings.json}", highlight=False, soft_wrap=True)

    def _start(self) -> tuple[dict[System, Server], Machine]:
        pair, scale, clock = self._settings.pair, self._settings.scale, Clock()
        self._screen.say(f"loading {pair.target}, drafted by {pair.drafted_by}, {DTYPE}")
        nothing = Cost(((1, 0.0),))
        target = Costly(self._load(pair.target), nothing, clock)
        # Each its own, for a draft learns which tokens its traffic has (engine/short_list.py).
        drafts = {
            system: Costly(self._load(pair.draft), nothing, clock, drafts=True)
            for system in self._settings.systems
            if pair.draft and system in DRAFTED
        }
        counted = kinds.machine(self._settings.kind, target, next(iter(drafts.values()), None))
        target.take(counted.target)
        for draft in drafts.values():
            assert counted.draft is not None
            draft.take(counted.draft)
        blocks = (max(self._settings.loads) + 1) * blocks_for(scale.longest_tokens)
        return {
            system: Server(clock, target, drafts.get(system), POLICIES[system], scale.longest_tokens, blocks)
            for system in self._settings.systems
        }, counted

    def _result(self, point: Point, servers: dict[System, Server]) -> Result:
        requests = self._workload.requests(point, self._settings.scale.tokens)
        asked = [_asked(request, point.temperature) for request in requests]
        return Result(
            point,
            round(median(len(each.prompt) for each in requests)),
            round(median(each.tokens for each in requests)),
            {system: server.serve(asked, point.streams) for system, server in servers.items()},
        )

    def _path(self, name: str) -> Path:
        return loading.resolve(f"hf://{name}", mirror=self._mirror)

    def _load(self, name: str) -> PreTrainedModel:
        return loading.load_model(self._path(name), DTYPE, ATTENTION)

    def _save(self, about: dict[str, Any], *, complete: bool) -> dict[str, Any]:
        settings, scale = self._settings, self._settings.scale
        content = build(settings.pair.name, self._results, complete=complete) | about
        content["settings"] = {
            "target": settings.pair.target,
            "draft": settings.pair.draft,
            "dtype": DTYPE,
            "tokens": scale.tokens,
            "streams": list(settings.loads),
            "systems": [system.value for system in settings.systems],
            "trace_divisor": scale.trace_divisor,
            "longest_tokens": scale.longest_tokens,
            "prompts_file": settings.prompts.name,
        }
        reports.write_json(settings.json, content)
        return content


def _asked(request: Request, temperature: float) -> Asked:
    sampling = SamplingParams(max_tokens=request.tokens, temperature=temperature, seed=request.seed)
    return Asked(request.prompt, sampling)


def _said(result: Result) -> str:
    rates = ", ".join(
        f"{system.value} {sum(map(len, served.tokens)) / served.elapsed_s:.1f} tok/s"
        for system, served in result.served.items()
    )
    return f"{result.point.label}: {rates}"
