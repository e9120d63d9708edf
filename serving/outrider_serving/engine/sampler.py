"""The one rule by which a token is chosen, and by which a draft guesses that choice.

    y_t = argmax over tokens v of  log p_t(v) + g(seed, t, v)

p_t is the target's distribution after temperature and top-p; g is Gumbel noise from a counter hash of the seed,
the token's absolute position and the token. Greedy is the same rule with g = 0. So y_t is an exact sample of
p_t (Gumbel-max trick) and depends on the prefix, the seed and the target alone: not on a draft, a batch, or a
replica (drafter-invariant coupling, arXiv 2408.07978). The draft applies the same rule to its own distribution,
with the same noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

MASK_64 = 0xFFFFFFFFFFFFFFFF
# A nucleus is nearly always smaller than the first of these; sorting all of a 152k vocabulary takes twenty
# times as long.
NUCLEUS_GUESSES = (64, 2048)


@dataclass(frozen=True)
class Sampling:
    """The part of a request's sampling that decides which token comes next."""

    temperature: float
    top_p: float
    seed: int

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


class Candidates(NamedTuple):
    """tokens: int64 [n]. weights: float [n], log p + g up to a constant; the largest one is the choice."""

    tokens: torch.Tensor
    weights: torch.Tensor


def _mix_64(state: int) -> int:
    """splitmix64's finaliser: every bit of the result depends on every bit of `state`."""
    state = (state + 0x9E3779B97F4A7C15) & MASK_64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK_64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK_64
    return state ^ (state >> 31)


def _signed_32(value: int) -> int:
    """The low 32 bits of `value`, as an int32 holds them."""
    return (value & 0x7FFFFFFF) - (value & 0x80000000)


def _mix_32(state: torch.Tensor) -> torch.Tensor:
    """murmur3's finaliser, int32 to int32. Products wrap, and `>>` is made logical by a mask: half the time of
    int64.
    """
    state = (state ^ ((state >> 16) & 0xFFFF)) * _signed_32(0x85EBCA6B)
    state = (state ^ ((state >> 13) & 0x7FFFF)) * _signed_32(0xC2B2AE35)
    return state ^ ((state >> 16) & 0xFFFF)


def gumbel(seed: int, position: int, tokens: torch.Tensor) -> torch.Tensor:
    """Gumbel(0, 1) noise, float64 [n], of each of `tokens` (integers [n]) at an absolute position.

    A counter hash: any token's noise is had without the others', on either side of the wire.
    """
    key = _mix_64(_mix_64(seed & MASK_64) ^ position)
    hashed = _mix_32(_mix_32(tokens.int() ^ _signed_32(key)) + _signed_32(key >> 32))
    uniform = (hashed.double() + (2.0**31 + 0.5)) * 2.0**-32
    return -torch.log(-torch.log(uniform))


def candidates(logits: torch.Tensor, sampling: Sampling, position: int) -> Candidates:
    """The tokens that may come at `position`, and how they weigh. logits [vocabulary], of any float dtype."""
    if sampling.greedy:
        return Candidates(torch.arange(logits.shape[0], device=logits.device), logits.float())
    scaled = logits.double() / sampling.temperature
    if sampling.top_p < 1:
        tokens, scaled = _nucleus(scaled, sampling.top_p)
    else:
        tokens = torch.arange(logits.shape[0], device=logits.device)
    return Candidates(tokens, scaled + gumbel(sampling.seed, position, tokens))


def _nucleus(scaled: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The fewest most probable tokens whose probabilities add up to top_p at least, most probable first."""
    normaliser = torch.logsumexp(scaled, 0)
    for guess in (*NUCLEUS_GUESSES, scaled.shape[0]):
        top, tokens = scaled.topk(min(guess, scaled.shape[0]))
        reached = torch.exp(top - normaliser).cumsum(0)
        if reached[-1] >= top_p:
            break
    size = int((reached < top_p).sum()) + 1
    return tokens[:size], top[:size]


@dataclass(frozen=True)
class Choice:
    """A chosen token. near_tie: the second best was within the rounding error of the logits' dtype, so that a
    forward of another width might choose it (in bfloat16 1 to 2 % of choices, in float32 none in practice).
    """

    token: int
    near_tie: bool = False


def choose(logits: torch.Tensor, sampling: Sampling, position: int) -> Choice:
    """The rule above. logits [vocabulary]."""
    if sampling.greedy:
        # Passes over 152k float32 logits: a tenth of the time of as many over bfloat16, and a third of topk(2).
        exact = logits.float()
        token = int(exact.argmax())
        best = exact[token].item()
        behind = (exact[part].max().item() for part in (slice(0, token), slice(token + 1, None)) if exact[part].numel())
        return Choice(token, best - max(behind, default=-math.inf) <= _rounding(logits, best))
    tokens, weights = candidates(logits, sampling, position)
    top, index = weights.topk(min(2, len(tokens)))
    token = int(tokens[index[0]])
    gap = float(top[0] - top[-1]) if len(top) == 2 else math.inf
    return Choice(token, gap <= _rounding(logits, logits[token].item()) / sampling.temperature)


def _rounding(logits: torch.Tensor, value: float) -> float:
    """Two units in the last place at `value`: 0.31 at a bfloat16 logit of 20, the largest gap seen at a flip."""
    return 2 * torch.finfo(logits.dtype).eps * abs(value)


def propose(logits: torch.Tensor, sampling: Sampling, position: int, branches: int) -> list[tuple[int, float]]:
    """The draft's likeliest choices of the target at `position`: (token, log belief), best first.

    logits [vocabulary] are the draft's own. The belief is a softmax over log q + g: for greedy it is q itself,
    and with noise it grows with the lead of the first choice over the second, which is what a small difference
    between p and q has to overcome. The target calibrates it against what it accepts.
    """
    tokens, weights = candidates(logits, sampling, position)
    top, index = weights.topk(min(branches, len(tokens)))
    beliefs = top - torch.logsumexp(weights, 0)
    return list(zip(tokens[index].tolist(), beliefs.tolist(), strict=True))
