"""Runs that never happened, for tests of what is computed from runs."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.runs import Run


def run_of(
    system: str,
    seconds: float,
    *,
    prompt: str = "1",
    category: str = "qa",
    text: str = "abcd",
    temperature: float = 0.0,
    part: int = 0,
    first_tokens: int = 1,
    counters: Mapping[str, float] | None = None,
) -> Run:
    """Ten tokens in so many seconds, of which half a second went to the first."""
    return Run(
        system=system,
        temperature=temperature,
        part=part,
        round=0,
        prompt=prompt,
        category=category,
        prompt_tokens=5,
        tokens=10,
        first_s=0.5,
        first_tokens=first_tokens,
        total_s=seconds,
        text=text,
        counters=counters or {},
        others_cpu_share=0.0,
        foreign_cpu_share=0.0,
    )


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]
