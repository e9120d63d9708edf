"""The parameters of sampling that decide which token comes next. Both roles hold them; knows nothing of tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

MASK_64 = 0xFFFFFFFFFFFFFFFF
MAX_BIAS = 100.0
# What is divided by less leaves float32's range: a logit by 1e-40, or a difference of logits by 1e-46, is infinite or
# no number. At 1e-5 a token a thousandth of a nat behind the best comes once in 1e43 times: that is greedy.
LEAST_TEMPERATURE = 1e-5
LEAST_REPETITION_PENALTY = 1 / 64  # the same in float32, in which it goes to the draft


@dataclass(frozen=True)
class Sampling:
    """One sequence's way to its next token; with its tokens and their positions all that the rule needs to know.

    temperature: 0 is greedy, as is all below LEAST_TEMPERATURE. top_k: 0 keeps all. min_p: a token less probable than
    this share of the most probable one is out. presence_penalty and frequency_penalty look at the output,
    repetition_penalty (1: none) at prompt and output. logit_bias: (token, nats). Until the output has `min_tokens`,
    none of `end_tokens` may come.

    Raises ValueError, naming the field, for a value that is out of range.
    """

    temperature: float
    top_p: float = 1.0
    seed: int = 0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    min_tokens: int = 0
    end_tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, value in (("presence_penalty", self.presence_penalty), ("frequency_penalty", self.frequency_penalty)):
            if not -2 <= value <= 2:
                raise ValueError(f"{name} is {value}; give a value from -2 to 2")
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature is {self.temperature}; give 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; give a value above 0 and at most 1")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; give 0 (all) or more")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p is {self.min_p}; give a value from 0 to 1")
        if not LEAST_REPETITION_PENALTY <= self.repetition_penalty < math.inf:
            raise ValueError(
                f"repetition_penalty is {self.repetition_penalty}; give {LEAST_REPETITION_PENALTY} or more; 1 is none"
            )
        if self.min_tokens < 0:
            raise ValueError(f"min_tokens is {self.min_tokens}; give 0 or more")
        if not all(token >= 0 and abs(bias) <= MAX_BIAS for token, bias in self.logit_bias):
            raise ValueError(f"logit_bias: give token ids with a bias from -{MAX_BIAS:g} to {MAX_BIAS:g}")

    @property
    def greedy(self) -> bool:
        return self.temperature < LEAST_TEMPERATURE

    @property
    def edits_logits(self) -> bool:
        """Whether the tokens so far, or a bias, change the logits."""
        penalised = self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1
        return bool(penalised or self.logit_bias or (self.min_tokens and self.end_tokens))

    @property
    def cuts(self) -> bool:
        """Whether improbable tokens are left out."""
        return bool(self.top_k or self.top_p < 1 or self.min_p)


def mix_64(state: int) -> int:
    """splitmix64's finaliser: every bit of the result depends on every bit of `state`."""
    state = (state + 0x9E3779B97F4A7C15) & MASK_64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK_64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK_64
    return state ^ (state >> 31)


def seed_of_choice(seed: int, index: int) -> int:
    """The seed of one of a request's `n` choices. The first one's is the request's own, so that asking for more
    does not change it.
    """
    return seed if index == 0 else mix_64(mix_64(seed & MASK_64) ^ index)
