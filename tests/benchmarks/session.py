"""One benchmark from its first process to its last: starts the systems, runs them, and keeps the JSON up to date."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
from outrider_operator.local.cores import machine_cores
from outrider_operator.local.mirror import model_mirror
from outrider_serving import loading
from outrider_serving.cli import FlagError
from outrider_serving.models.cache import size_bytes
from transformers import PreTrainedTokenizerBase

from benchmarks import comparison, identity, machine, report, tables
from benchmarks.comparison import Step
from benchmarks.errors import BenchError
from benchmarks.estimate import Estimate
from benchmarks.fleet import Fleet, Plan, needed_bytes
from benchmarks.goals import OUTRIDER, OUTRIDER_OFF
from benchmarks.hf_worker import LOOKUP_TOKENS
from benchmarks.prompts import (
    LONGEST_TOKENS,
    OWN_PROMPTS,
    Chosen,
    Prompt,
    chat_tokens,
    choose,
    marked,
    question_begins,
    questions_of,
    read_questions,
)
from benchmarks.runs import Run
from benchmarks.screen import Screen, duration
from benchmarks.systems import PAIR_S, VARIANTS, Case, Cores, Pair, System, parts

# What the float32 comparison is made over: prose, code, and a text that is copied.
IDENTITY_CATEGORIES = ("coding", "copying", "writing")


@dataclass(frozen=True)
class Settings:
    """The command line, checked."""

    pair: Pair
    json: Path
    prompts: Path
    per_category: int
    tokens: int
    rounds: int
    draft_dtype: str
    systems: tuple[System, ...]  # none: all that the pair has
    only: tuple[str, ...]
    identity: bool
    mend_transformers: bool


class Session:
    """Runs what the settings ask for."""

    def __init__(self, settings: Settings) -> None:
        """Raises FlagError when the models or the prompts are not to be had."""
        self._settings = settings
        mirror = model_mirror(None, os.environ)
        if mirror is None:
            raise FlagError("--pair", not_prepared(settings.pair))
        self._screen = Screen(tables.console())
        self._bench = identity.Bench(
            mirror=mirror,
            folder=Path(tempfile.mkdtemp(prefix="outrider-bench-")),
            cores=Cores.split(machine_cores()),
            say=self._screen.say,
        )
        self._tokenizer = self._load_tokenizer(settings.pair.target)
        self._chosen = self._choose()
        self._parts = self._choose_parts()
        longest_tokens = LONGEST_TOKENS + settings.tokens
        self._fleet = Fleet(
            Plan(settings.pair, settings.draft_dtype, longest_tokens, settings.mend_transformers),
            self._bench,
        )
        self._machine = machine.describe()
        self._runs: list[Run] = []
        self._identity: list[dict[str, Any]] = []

    async def run(self) -> None:
        """Measures, writes and shows. Raises BenchError, or LocalError when this machine cannot run a system."""
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        self._introduce()
        complete = False
        try:
            with self._screen:
                await self._compare()
                if self._settings.identity:
                    await self._check_identity()
            complete = True
        finally:
            await self._fleet.stop()
            content = self._save(complete=complete)
            if self._runs:
                tables.show(self._screen.console, content)
            what = "measured" if complete else "stopped; what was measured is"
            self._screen.console.print(f"{what}: {self._settings.json}", highlight=False, soft_wrap=True)

    async def _compare(self) -> None:
        settings, prompts, say = self._settings, self._chosen.prompts, self._screen.say
        self._check_memory()
        estimate = Estimate(settings.tokens)
        shortest = self._mark(min(prompts, key=lambda prompt: len(prompt.tokens)), "0. ")
        schedules = [
            [self._marked(step) for step in comparison.schedule(part, cases, prompts, settings.rounds)]
            for part, cases in enumerate(self._parts)
        ]
        total = sum(map(len, schedules))

        def done(run: Run, left_s: float) -> None:
            self._runs.append(run)
            self._screen.ran(run, len(self._runs), total, left_s)
            self._save(complete=False)

        for part, cases in enumerate(self._parts):
            await self._fleet.start(cases, say)
            say("warming up")
            await comparison.warm_up(self._fleet, cases, shortest, estimate)
            if part == 0:
                self._assume_later(estimate)
                left_s = estimate.left_s(comparison.work_of(list(chain(*schedules))))
                then = ", and then the float32 comparison" if settings.identity else ""
                say(f"{total} runs of {settings.tokens} tokens: about {duration(left_s)}{then}")
                self._screen.begin(total)
            later = list(chain(*schedules[part + 1 :]))
            await comparison.compare(self._fleet, schedules[part], later, estimate, done)
            await self._fleet.stop()

    def _marked(self, step: Step) -> Step:
        """A server gets a prompt once for every temperature and round: each time but the first with another number."""
        number = 2 * step.round + (step.case.temperature > 0)
        return step if number == 0 else step._replace(prompt=self._mark(step.prompt, f"{number}. "))

    def _mark(self, prompt: Prompt, text: str) -> Prompt:
        begins = question_begins(self._tokenizer)
        return marked(prompt, begins, self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _assume_later(self, estimate: Estimate) -> None:
        """What is loaded later takes as long as what it is like, or longer on fewer cores, until it is warmed up."""
        first = self._parts[0]
        slower = len(self._bench.cores.all) / len(self._bench.cores.target)
        for case in chain(*self._parts[1:]):
            if case not in first:
                variant = VARIANTS[case.system]
                like = OUTRIDER_OFF if variant.mode == "Off" or not variant.drafted else OUTRIDER
                estimate.assume(case, like if like in first else first[0], slower if variant.own_cores else 1.0)

    def _check_memory(self) -> None:
        """Raises BenchError: with too little, weights of those that wait would be read from disk again."""
        models = [self._settings.pair.target, self._settings.pair.draft]
        target_bytes, draft_bytes = (size_bytes(self._bench.path(model)) if model else 0 for model in models)
        dtype = self._settings.draft_dtype
        needed = max(needed_bytes(part, target_bytes, draft_bytes, dtype) for part in self._parts)
        free = psutil.virtual_memory().available
        if free < needed:
            have = f"needs {needed / 2**30:.0f} GiB of free memory, of which there are {free / 2**30:.0f}"
            raise BenchError(f"pair {self._settings.pair.name} {have}; end other programs, or give fewer --systems")

    async def _check_identity(self) -> None:
        questions = {question.category: question for question in reversed(read_questions(OWN_PROMPTS))}
        for phase in identity.phases(self._settings.pair, self._settings.tokens):
            try:
                tokenizer = loading.load_tokenizer(self._bench.path(phase.model))
            except ValueError as error:
                self._identity.append({"model": phase.model, "identical": None, "why": str(error)})
                continue
            prompts = [
                Prompt(category, category, chat_tokens(tokenizer, questions[category].text))
                for category in IDENTITY_CATEGORIES[: phase.prompts]
            ]
            self._identity.append(await identity.check(phase, prompts, self._bench))
            self._save(complete=False)

    def _load_tokenizer(self, model: str) -> PreTrainedTokenizerBase:
        try:
            return loading.load_tokenizer(self._bench.path(model))
        except ValueError as error:
            raise FlagError("--pair", str(error)) from None

    def _choose_parts(self) -> list[list[Case]]:
        pair, cores, wanted = self._settings.pair, self._bench.cores, self._settings.systems
        known = {case.system for case in chain(*parts(pair, cores))}
        for system in wanted:
            if system not in known:
                names = ", ".join(system for system in System if system in known)
                raise FlagError("--systems", f"pair {pair.name} has no {system} here; choose from {names}")
        return parts(pair, cores, wanted or known)

    def _choose(self) -> Chosen:
        settings = self._settings
        questions = questions_of(settings.prompts, copying=settings.pair is PAIR_S)
        known = list(dict.fromkeys(question.category for question in questions))
        unknown = [category for category in settings.only if category not in known]
        if unknown:
            raise FlagError("--only", f"no category {unknown[0]}; choose from {', '.join(known)}")
        wanted = settings.only or known
        return choose(
            [question for question in questions if question.category in wanted],
            lambda text: chat_tokens(self._tokenizer, text),
            settings.per_category,
        )

    def _introduce(self) -> None:
        settings, chosen = self._settings, self._chosen
        left_out = ", ".join(f"{category} {count}" for category, count in chosen.too_long.items())
        say = self._screen.say
        pair = settings.pair
        say(f"pair {pair.name}: {pair.target}, drafted by {pair.drafted_by}, {machine.DTYPE}")
        say(f"prompts: {len(chosen.prompts)} of {settings.prompts}")
        if left_out:
            say(f"left out, longer than {LONGEST_TOKENS} tokens: {left_out}")
        if settings.pair.draft is not None and not self._bench.cores.draft:
            say("what has cores of its own is not run: this machine has one")
        say(f"logs: {self._bench.folder}")

    def _save(self, *, complete: bool) -> dict[str, Any]:
        content: dict[str, Any] = {"benchmark": "decode", "pair": self._settings.pair.name} | report.build(
            self._settings.pair.name, self._runs, self._identity, self._encode, complete=complete
        )
        content |= {"machine": self._machine, "settings": self._describe()}
        report.write_json(self._settings.json, content)
        return content

    def _encode(self, text: str) -> Sequence[int]:
        # What is shown for an incomplete character at the end has other tokens.
        tokens: list[int] = self._tokenizer(text.rstrip("\ufffd"), add_special_tokens=False)["input_ids"]
        return tokens

    def _describe(self) -> dict[str, Any]:
        settings, cores = self._settings, self._bench.cores
        return {
            "target": settings.pair.target,
            "draft": settings.pair.draft,
            "dtype": machine.DTYPE,
            "draft_dtype": settings.draft_dtype if settings.pair.draft else None,
            "tokens": settings.tokens,
            "rounds": settings.rounds,
            "prompts_file": settings.prompts.name,
            "prompts": len(self._chosen.prompts),
            "prompts_too_long": self._chosen.too_long,
            "longest_prompt_tokens": LONGEST_TOKENS,
            "categories": list(dict.fromkeys(prompt.category for prompt in self._chosen.prompts)),
            "cores": {"all": cores.all, "own_target": cores.target, "own_draft": cores.draft},
            "hf_assisted": settings.pair.draft or f"prompt_lookup_num_tokens={LOOKUP_TOKENS}",
            "transformers_mended": settings.mend_transformers,
            "commands": self._fleet.commands,
        }


def not_prepared(pair: Pair) -> str:
    return f"the models of pair {pair.name} are not prepared; run `outrider-models prepare {pair.prepared_by}`"
