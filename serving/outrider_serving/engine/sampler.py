"""The one rule by which a token is chosen, and by which a draft guesses that choice.

    y_t = argmax over tokens v of  log p_t(v) + g(seed, t, v)

p_t is the target's distribution after all that the request asks for; g is Gumbel noise from a counter hash of the
seed, the token's absolute position and the token. Greedy is the same rule with g = 0. So y_t is an exact sample of
p_t (Gumbel-max trick) and depends on the prefix, the seed and the target alone: not on a draft, a batch, or a
replica (drafter-invariant coupling, arXiv 2408.07978). The draft applies the same rule to its own distribution,
with the same noise.

p_t comes about in this order, vLLM's for the logits and transformers' for the cuts: min_tokens and logit_bias, the
penalties (repetition, then frequency and presence), temperature, top_k, top_p of what is left, min_p.

Here a choice is made for one row on a CPU, with as few passes over the vocabulary as exactness allows; for all rows
at once on a device, see `batch_sampler.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from outrider_serving.engine.logprobs import TokenLogprob, logprobs_of, token_logprob
from outrider_serving.engine.noise import LEAST_NOISE, MOST_NOISE, complement_below, gumbel, hashed, key_of, vocabulary
from outrider_serving.engine.processors import Edits, edited
from outrider_serving.engine.sampling import Sampling

__all__ = [
    "Candidates",
    "Choice",
    "Guesses",
    "NoChoice",
    "Place",
    "Sampling",
    "candidates",
    "choose",
    "choose_at",
    "propose",
]

Guesses = list[tuple[int, float]]

# A nucleus is nearly always smaller than the first of these.
NUCLEUS_GUESSES = (64, 2048)
# The largest values of a row lie in few blocks: 0.06 ms for the first 4 of 152k, where topk takes 0.26 ms.
BLOCK = 128
# A subset of the vocabulary pays from here on: gathering costs as much as a few passes.
WORTH_GATHERING = 8
# Float32 rounding of exp and of a product, relative, with room to spare.
SLACK = 1e-4
# A whole vocabulary of tokens so far below the best, in nats, weighs 3e-4 of it; exp is slow where it underflows.
NEGLIGIBLE = 20.0
# Of so many likeliest tokens the draft computes the noise exactly.
EXACTLY = 16


class Candidates(NamedTuple):
    """tokens: int64 [n]. weights: float [n], log p + g up to a constant; the largest one is the choice."""

    tokens: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True)
class Place:
    """Where a token is chosen or guessed: with the logits there, all that it depends on.

    edits: what bias and penalties change. children: the tokens that a tree holds there, of which one within
    `tolerance` nats of the best may be taken. logprobs: so many likeliest tokens are reported; None: not even the
    chosen one's log probability.
    """

    sampling: Sampling
    position: int
    edits: Edits | None = None
    children: tuple[int, ...] = ()
    tolerance: float = 0.0
    logprobs: int | None = None


@dataclass(frozen=True)
class Choice:
    """A chosen token. near_tie: the second best was within the rounding error of the logits' dtype, so that a
    forward of another width might choose it (in bfloat16 1 to 2 % of choices, in float32 none in practice).
    tolerated: it is not the best, but one of the tree's within the tolerance.
    """

    token: int
    near_tie: bool = False
    tolerated: bool = False
    logprob: TokenLogprob | None = None


class NoChoice(ArithmeticError):
    """The best logit is no finite number, so none of the tokens is the best one."""

    def __init__(self) -> None:
        super().__init__("the model gave logits that are no finite numbers: its weights or its dtype overflow here")


def candidates(logits: torch.Tensor, sampling: Sampling, position: int, edits: Edits | None = None) -> Candidates:
    """The tokens that may come at `position`, and how they weigh: the rule as it is written, all of it.

    logits [vocabulary], of any float dtype.
    """
    exact = _exact(logits, edits)
    tokens = _kept(exact, sampling) if sampling.cuts and not sampling.greedy else None
    if tokens is None:
        tokens = torch.arange(exact.shape[0], device=exact.device)
    return Candidates(tokens, _weights(exact, tokens, sampling, position))


def choose_at(logits: torch.Tensor, place: Place) -> Choice:
    """The rule above, and what goes with it: tolerance, log probabilities. logits [vocabulary]. Raises NoChoice."""
    choice = choose(logits, place.sampling, place.position, place.edits)
    if place.tolerance and place.children:
        choice = _tolerated(logits, place, choice)
    if place.logprobs is None:
        return choice
    packed = logprobs_of(logits[None], torch.tensor([choice.token], device=logits.device), place.logprobs)
    return replace(choice, logprob=token_logprob(choice.token, packed[0].tolist(), place.logprobs))


def _tolerated(logits: torch.Tensor, place: Place, best: Choice) -> Choice:
    """The best of the tree's children if it weighs within the tolerance of `best`, else `best`."""
    if best.token in place.children:
        return best
    tokens, weights = candidates(logits, place.sampling, place.position, place.edits)
    among = torch.isin(tokens, torch.tensor(place.children)).nonzero()[:, 0]
    if not len(among):
        return best
    weight, index = weights[among].max(0)
    if float(weights.max() - weight) > place.tolerance:
        return best
    return Choice(int(tokens[among[index]]), tolerated=True)


def _exact(logits: torch.Tensor, edits: Edits | None) -> torch.Tensor:
    """float32 [vocabulary], with bias and penalties."""
    return logits.float() if edits is None else edited(logits.float()[None], [edits])[0]


def choose(logits: torch.Tensor, sampling: Sampling, position: int, edits: Edits | None = None) -> Choice:
    """The rule above. logits [vocabulary], of any float dtype. Raises NoChoice."""
    exact = _exact(logits, edits)
    if sampling.greedy:
        best, token = _first_max(exact)
        if not math.isfinite(best):  # a maximum over what holds NaN is NaN
            raise NoChoice
        behind = (part.max().item() for part in (exact[:token], exact[token + 1 :]) if part.numel())
        return Choice(token, best - max(behind, default=-math.inf) <= _rounding(logits, best))
    best = exact.max().item()
    if not math.isfinite(best):
        raise NoChoice
    rounding = _rounding(logits, best) / sampling.temperature
    tokens = _kept(exact, sampling) if sampling.cuts else _contenders(exact, sampling, position, rounding)
    weights = _weights(exact, tokens, sampling, position)
    top, index = weights.topk(min(2, len(tokens)))
    gap = float(top[0] - top[-1]) if len(top) == 2 else math.inf
    return Choice(int(tokens[index[0]]), gap <= rounding)


def _first_max(values: torch.Tensor) -> tuple[float, int]:
    """The largest value and the first index that has it. A third of the time of argmax, on a CPU."""
    best, index = values.max(0)
    return best.item(), int(index)


def _rounding(logits: torch.Tensor, value: float) -> float:
    """Two units in the last place at `value`: 0.31 at a bfloat16 logit of 20, the largest gap seen at a flip."""
    return 2 * torch.finfo(logits.dtype).eps * abs(value)


def _weights(exact: torch.Tensor, tokens: torch.Tensor, sampling: Sampling, position: int) -> torch.Tensor:
    """log p + g of `tokens` (int64 [n]), float64 [n], up to a constant."""
    if sampling.greedy:
        return exact[tokens].double()
    return exact[tokens].double() / sampling.temperature + gumbel(sampling.seed, position, tokens)


def _contenders(exact: torch.Tensor, sampling: Sampling, position: int, rounding: float) -> torch.Tensor:
    """Tokens, int64 [few], of which one is the choice: all whose weight could reach the best one's less `rounding`.

    Exact, in half the time that the noise of a whole vocabulary of 152k takes: a token that even the largest noise
    would not lift to the most probable one with the least is out; and of the others exp(weight) is at most p / c,
    without a logarithm (see `complement_below`).
    """
    best = exact.max().item()
    tokens = _reachable(exact, best, sampling, rounding)
    bounds = _race(exact, tokens, best, sampling, position)
    leader = bounds.max(0).indices[None]
    reached = _weights(exact, leader if tokens is None else tokens[leader], sampling, position).item()
    least = math.exp(reached - best / sampling.temperature - rounding) * (1 - SLACK)
    found = torch.from_numpy(np.flatnonzero(bounds.numpy() >= least))
    return found if tokens is None else tokens[found]


def _reachable(exact: torch.Tensor, best: float, sampling: Sampling, rounding: float = 0.0) -> torch.Tensor | None:
    """Tokens, int64 [few], that the noise could lift to `best`, the largest logit; None where they are many."""
    reachable = exact.numpy() >= best - (MOST_NOISE - LEAST_NOISE + rounding) * sampling.temperature
    few = np.count_nonzero(reachable) * WORTH_GATHERING < len(reachable)
    return torch.from_numpy(np.flatnonzero(reachable)) if few else None


def _race(
    exact: torch.Tensor, tokens: torch.Tensor | None, best: float, sampling: Sampling, position: int
) -> torch.Tensor:
    """An upper bound of exp(weight - best / temperature), float32, of `tokens` (int64; None: all)."""
    chosen = exact if tokens is None else exact[tokens]
    named = vocabulary(exact.shape[0], exact.device) if tokens is None else tokens.int()
    complement = complement_below(hashed(named, *key_of(sampling.seed, position)))
    return (chosen - best).div_(sampling.temperature).exp_().div_(complement)


def _kept(exact: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The tokens, int64 [n], that top_k, top_p and min_p leave. Of equals at an edge the first ones stay."""
    best = exact.max().item()
    size = exact.shape[0]
    tokens = None
    if sampling.top_k and sampling.top_k < size:
        ranked = _largest(exact, sampling.top_k)
        shares = _shares(torch.from_numpy(ranked), best, sampling.temperature)
        count = _nucleus(shares, float(shares.sum()), sampling.top_p)
        tokens = _holding(exact, ranked[count - 1], count)
    elif sampling.top_p < 1:
        total = float(_shares(exact, best, sampling.temperature).sum())
        for guess in (*NUCLEUS_GUESSES, size):
            ranked = _largest(exact, min(guess, size))
            shares = _shares(torch.from_numpy(ranked), best, sampling.temperature)
            if float(shares.sum()) >= sampling.top_p * total:
                break
        count = _nucleus(shares, total, sampling.top_p)
        tokens = _holding(exact, ranked[count - 1], count)
    if sampling.min_p:
        shares = _shares(exact if tokens is None else exact[tokens], best, sampling.temperature)
        probable = torch.from_numpy(np.flatnonzero(shares.numpy() >= sampling.min_p))
        tokens = probable if tokens is None else tokens[probable]
    return torch.arange(size) if tokens is None else tokens


def _shares(values: torch.Tensor, best: float, temperature: float) -> torch.Tensor:
    """Probabilities, float64, as a share of the most probable token's."""
    return ((values - best) / temperature).exp_().double()


def _nucleus(shares: torch.Tensor, total: float, top_p: float) -> int:
    """How many of `shares`, largest first, add up to top_p of `total` at least; no more than needed."""
    if top_p == 1:
        return len(shares)
    return min(int((shares.cumsum(0) < top_p * total).sum()) + 1, len(shares))


def _largest(values: torch.Tensor, count: int) -> NDArray[np.float32]:
    """The `count` largest of `values` (float32 [n]), largest first."""
    whole = len(values) // BLOCK * BLOCK
    some = values.numpy()
    if count * 2 <= whole // BLOCK:
        # So many blocks hold a value as large as this, so at least `count` values are.
        least = values[:whole].view(-1, BLOCK).amax(1).topk(count).values[-1].item()
        some = some[some >= least]
    return np.sort(some)[: -count - 1 : -1].copy()


def _holding(values: torch.Tensor, least: float, count: int) -> torch.Tensor:
    """The indices, int64 [count], of the `count` largest values, of which `least` is the smallest."""
    array = values.numpy()
    above = np.flatnonzero(array > least)
    equal = np.flatnonzero(array == least)[: count - len(above)]
    return torch.from_numpy(np.concatenate([above, equal]))


def _first(values: torch.Tensor, count: int) -> torch.Tensor:
    """Indices, int64 [count], of the largest values, largest first; equals in the order of their indices."""
    found = _holding(values, _largest(values, count)[-1], count)
    return found[values[found].sort(descending=True, stable=True).indices]


def propose(
    logits: torch.Tensor, sampling: Sampling, position: int, branches: int, edits: Edits | None = None
) -> Guesses:
    """The draft's likeliest choices of the target at `position`: (token, log belief), best first.

    logits [vocabulary] are the draft's own. The belief is a softmax over log q + g: for greedy it is q itself,
    and with noise it grows with the lead of the first choice over the second, which is what a small difference
    between p and q has to overcome. The target calibrates it against what it accepts. None at all where the best logit
    is no finite number: a guess may be missing.
    """
    exact = _exact(logits, edits)
    best = exact.max().item()
    if not math.isfinite(best):
        return []
    if sampling.greedy:
        tokens = _first(exact, min(branches, len(exact)))
        some = exact.numpy()
        normaliser = torch.logsumexp(torch.from_numpy(some[some > best - NEGLIGIBLE]), 0)
        beliefs = exact[tokens] - normaliser
        return list(zip(tokens.tolist(), beliefs.tolist(), strict=True))
    kept = _kept(exact, sampling) if sampling.cuts else _reachable(exact, best, sampling)
    race = _race(exact, kept, best, sampling, position)
    first = _first(race, min(max(branches, EXACTLY), len(race)))
    tokens = first if kept is None else kept[first]
    weights = _weights(exact, tokens, sampling, position) - best / sampling.temperature
    # The bound of the others stands for their weight: it is above it by little where it counts.
    others = (race.double().sum() - race[first].double().sum()).clamp(min=0)
    normaliser = torch.logaddexp(torch.logsumexp(weights, 0), others.log())
    top, index = weights.topk(min(branches, len(tokens)))
    return list(zip(tokens[index].tolist(), (top - normaliser).tolist(), strict=True))
