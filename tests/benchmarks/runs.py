"""One measurement, and what a system answers. Every figure of a report is computed from these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from benchmarks.prompts import Prompt
from benchmarks.systems import Case


@dataclass(frozen=True)
class Answer:
    """What came back for one prompt, and when, from the moment that it was sent."""

    text: str
    tokens: int
    first_s: float  # until the first token was there
    first_tokens: int  # how many came with it: assisted generation gives its first ones together
    total_s: float  # until the last token was there
    counters: Mapping[str, float] = field(default_factory=dict)  # how the target's /metrics moved


class Backend(Protocol):
    """A system that is up and waits."""

    def pids(self) -> list[int]: ...

    def problem(self) -> str | None:
        """What is wrong with its processes, as a person reads it; None while they are there."""
        ...

    async def run(self, prompt: Prompt, tokens: int, temperature: float) -> Answer:
        """Exactly `tokens` tokens after the prompt. Raises BenchError."""
        ...

    async def stop(self) -> None: ...


@dataclass(frozen=True)
class Run:
    """One prompt through one system. Rates are in tokens a second."""

    system: str
    temperature: float
    part: int  # which comparison: only what was loaded at once is compared
    round: int
    prompt: str
    category: str
    prompt_tokens: int
    tokens: int
    first_s: float
    first_tokens: int
    total_s: float
    text: str
    counters: Mapping[str, float]
    others_cpu_share: float  # of one core: what the waiting systems burnt meanwhile
    foreign_cpu_share: float  # of one core: what was none of the benchmark's

    @classmethod
    def of(cls, case: Case, part: int, turn: int, prompt: Prompt, answer: Answer, others: float, foreign: float) -> Run:
        return cls(
            system=case.system.value,
            temperature=case.temperature,
            part=part,
            round=turn,
            prompt=prompt.id,
            category=prompt.category,
            prompt_tokens=len(prompt.tokens),
            tokens=answer.tokens,
            first_s=answer.first_s,
            first_tokens=answer.first_tokens,
            total_s=answer.total_s,
            text=answer.text,
            counters=answer.counters,
            others_cpu_share=others,
            foreign_cpu_share=foreign,
        )

    @property
    def tok_s(self) -> float:
        """Over all of the time, the prompt's included: what a user waits."""
        return self.tokens / self.total_s

    @property
    def decode_tok_s(self) -> float | None:
        """From the first token on. None where all came at once, as assisted generation's may."""
        if self.tokens <= self.first_tokens:
            return None
        return (self.tokens - self.first_tokens) / (self.total_s - self.first_s)

    @property
    def place(self) -> tuple[str, str, int, int]:
        """What two systems must share for their figures to be compared."""
        return self.category, self.prompt, self.part, self.round

    def record(self) -> dict[str, Any]:
        return asdict(self) | {"tok_s": self.tok_s, "decode_tok_s": self.decode_tok_s}
