"""What is simulated: the figures of a target, of a draft, and of what the draft proposes. All defaults are those of a
70B-class target on four GPUs and a draft of 1B on one.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TargetSpec:
    """One target pod.

    A step over n tokens of answers takes step_base_s + n · step_token_s. Prompts are read in chunks of chunk_tokens, at
    prefill_tokens_per_s, in the steps of the answers. kv_tokens: of prompts and answers, that its pool holds.
    """

    step_base_s: float = 0.020
    step_token_s: float = 0.00015
    prefill_tokens_per_s: float = 8000.0
    chunk_tokens: int = 512
    max_sequences: int = 64
    kv_tokens: int = 400_000
    start_s: float = 180.0
    gpus: int = 4

    def forward_s(self, tokens: float) -> float:
        """Seconds of a step over so many tokens of answers."""
        return self.step_base_s + self.step_token_s * tokens

    @property
    def chunk_s(self) -> float:
        """What a chunk of a prompt adds to a step."""
        return self.chunk_tokens / self.prefill_tokens_per_s


@dataclass(frozen=True)
class DraftSpec:
    """One draft pod. A level of the trees of m sequences takes level_s + m · sequence_s. It reads every prompt too, at
    prefill_tokens_per_s: 1B is a seventieth of the work of 70B, and one GPU a quarter of four, or less.
    """

    level_s: float = 0.0015
    sequence_s: float = 0.00002
    prefill_tokens_per_s: float = 100_000.0
    start_s: float = 30.0
    gpus: int = 1

    def of(self, sequences: float) -> float:
        """Seconds of one level of so many sequences' trees."""
        return self.level_s + self.sequence_s * sequences


@dataclass(frozen=True)
class Acceptance:
    """Of one drafted token whose parent was accepted. after: from the middle of the trace on; None: no drift."""

    before: float = 0.8
    after: float | None = None


@dataclass(frozen=True)
class Slo:
    """A request is within it when its first token came within ttft_s and its further ones every itl_s on average."""

    ttft_s: float = 2.0
    itl_s: float = 0.050


@dataclass(frozen=True)
class FleetSpec:
    """Everything but the trace and the policy. max_depth: tokens that a target lets a draft run ahead. gpus: of the
    cluster; pods for which none are left stay pending, and None is enough for all.
    """

    target: TargetSpec = field(default_factory=TargetSpec)
    draft: DraftSpec = field(default_factory=DraftSpec)
    acceptance: Acceptance = field(default_factory=Acceptance)
    slo: Slo = field(default_factory=Slo)
    max_depth: int = 8
    gpus: int | None = None
