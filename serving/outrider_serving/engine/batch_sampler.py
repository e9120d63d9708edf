"""Choices and proposals of many rows at once: on a device all of them are computed there and fetched in one transfer.

The rule is that of `sampler.py`, written densely and without a branch on data, since each would make the host wait
for the device. On a CPU a choice costs a pass over the vocabulary and nobody waits, so there rows go one by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from outrider_serving.engine.logprobs import logprobs_of, token_logprob
from outrider_serving.engine.noise import gumbel_of, hashed, key_of, vocabulary
from outrider_serving.engine.processors import edited
from outrider_serving.engine.sampler import Choice, Guesses, Place, propose

# Rows at a time: the noise of 32 rows of 152k in float64 is 39 MB, and a few such tensors live at once.
ROWS = 32


def choose_all(logits: Sequence[torch.Tensor], places: Sequence[Place]) -> list[Choice | None]:
    """The choice at each place. logits: [rows, vocabulary] of each sequence, together as many rows as places. None
    where one alone raises NoChoice: that is told to the sequence whose row it is, the others have their choices.
    """
    rows = torch.cat(list(logits))
    top = max((place.logprobs or 0 for place in places), default=0)
    packed = [
        _chosen(rows[start : start + ROWS], places[start : start + ROWS], top) for start in range(0, len(places), ROWS)
    ]
    return [_choice(values, place) for values, place in zip(fetch(packed), places, strict=True)]


def propose_all(logits: Sequence[torch.Tensor], places: Sequence[Place], branches: Sequence[int]) -> list[Guesses]:
    """As `propose`, at each place; logits as for `choose_all`. `branches`: how many proposals each wants."""
    if not places:
        return []
    if logits[0].device.type == "cpu":
        rows = (row for some in logits for row in some)
        return [
            propose(row, place.sampling, place.position, count, place.edits)
            for row, place, count in zip(rows, places, branches, strict=True)
        ]
    return propose_dense(torch.cat(list(logits)), places, branches)


def propose_dense(rows: torch.Tensor, places: Sequence[Place], branches: Sequence[int]) -> list[Guesses]:
    """`propose_all` on a device. rows [places, vocabulary]."""
    most = min(max(branches), rows.shape[1])
    packed = []
    for start in range(0, len(places), ROWS):
        weights, _ = _weights(rows[start : start + ROWS], places[start : start + ROWS])
        top = weights.topk(most, dim=1)
        beliefs = top.values - torch.logsumexp(weights, 1, keepdim=True)
        packed.append(torch.cat([top.indices.double(), beliefs], 1))
    return [
        [
            (int(token), belief)
            for token, belief in zip(values[:count], values[most : most + count], strict=True)
            if belief > -torch.inf
        ]
        for values, count in zip(fetch(packed), branches, strict=True)
    ]


def fetch(packed: Sequence[torch.Tensor]) -> list[list[float]]:
    """The one transfer from the device: rows of float64, which holds a token's number exactly."""
    rows: list[list[float]] = torch.cat(list(packed)).cpu().tolist() if packed else []
    return rows


def _chosen(rows: torch.Tensor, places: Sequence[Place], top: int) -> torch.Tensor:
    """float64 [rows, 4 + 1 + 2 * top]: the best weight, token, near tie, tolerated, log probabilities (see
    `logprobs_of`). Where the best weight is no finite number, the others say nothing.
    """
    weights, rounding = _weights(rows, places)
    best = weights.amax(1, keepdim=True)
    everything = vocabulary(rows.shape[1], rows.device).long()
    # The first of equals, which a device's own argmax does not promise. NaN equals nothing, and gives the last token:
    # one outside the vocabulary would be a fault of the whole device.
    token = torch.where(weights == best, everything, rows.shape[1] - 1).amin(1, keepdim=True)
    second = weights.scatter(1, token, -torch.inf).amax(1, keepdim=True)
    near_tie = best - second <= rounding
    tolerated = torch.zeros_like(near_tie)
    if any(place.tolerance and place.children for place in places):
        child, weight, held = _best_child(weights, token, places)
        tolerance = _column([place.tolerance for place in places], rows)
        tolerated = (best - weight <= tolerance) & ~held
        token = torch.where(tolerated, child, token)
        near_tie &= ~tolerated
    parts = [best, token.double(), near_tie.double(), tolerated.double()]
    if any(place.logprobs is not None for place in places):
        parts.append(logprobs_of(rows, token[:, 0], top))
    else:
        parts.append(torch.zeros(len(rows), 1 + 2 * top, dtype=torch.float64, device=rows.device))
    return torch.cat(parts, 1)


def _choice(values: list[float], place: Place) -> Choice | None:
    best, number, near_tie, tolerated, *logprobs = values
    if not math.isfinite(best):
        return None
    token = int(number)
    logprob = None if place.logprobs is None else token_logprob(token, logprobs, place.logprobs)
    return Choice(token, bool(near_tie), bool(tolerated), logprob)


def _best_child(
    weights: torch.Tensor, token: torch.Tensor, places: Sequence[Place]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The tree's heaviest child at each place, its weight (-inf where nothing is tolerated), and whether `token` is
    a child; each [rows, 1].
    """
    tolerable = [place.children if place.tolerance else () for place in places]
    most = max(map(len, tolerable))
    padded = torch.tensor([[*children, *[-1] * (most - len(children))] for children in tolerable], device=token.device)
    found = weights.gather(1, padded.clamp(min=0)).masked_fill(padded < 0, -torch.inf)
    weight, index = found.max(1, keepdim=True)
    return padded.gather(1, index), weight, (padded == token).any(1, keepdim=True)


def _weights(rows: torch.Tensor, places: Sequence[Place]) -> tuple[torch.Tensor, torch.Tensor]:
    """log p + g, float64 [rows, vocabulary], up to a constant, -inf for what is left out; and the rounding error of
    the best in the same unit, [rows, 1].
    """
    samplings = [place.sampling for place in places]
    exact = edited(rows.float(), [place.edits for place in places])
    temperature = _column([1.0 if sampling.greedy else sampling.temperature for sampling in samplings], rows)
    rounding = 2 * torch.finfo(rows.dtype).eps * exact.amax(1, keepdim=True).abs().double() / temperature
    weights = exact.double() / temperature
    if all(sampling.greedy for sampling in samplings):
        return weights, rounding
    weights += _noise(rows, places)
    cut = [index for index, sampling in enumerate(samplings) if sampling.cuts and not sampling.greedy]
    if cut:
        chosen = torch.tensor(cut, device=rows.device)
        left_out = _left_out(exact[chosen], [places[index] for index in cut])
        weights[chosen] = weights[chosen].masked_fill(left_out, -torch.inf)
    return weights, rounding


def _noise(rows: torch.Tensor, places: Sequence[Place]) -> torch.Tensor:
    """float64 [rows, vocabulary]; 0 for greedy rows."""
    keys = [key_of(place.sampling.seed, place.position) for place in places]
    low, high = torch.tensor(keys, dtype=torch.int32, device=rows.device).T[..., None]
    noise = gumbel_of(hashed(vocabulary(rows.shape[1], rows.device)[None], low, high))
    return noise * _column([float(not place.sampling.greedy) for place in places], rows)


def _left_out(exact: torch.Tensor, places: Sequence[Place]) -> torch.Tensor:
    """bool [rows, vocabulary]: what top_k, top_p and min_p leave out."""
    samplings = [place.sampling for place in places]
    size = exact.shape[1]
    values, order = exact.sort(dim=1, descending=True, stable=True)
    temperature = _column([sampling.temperature for sampling in samplings], exact).float()
    shares = ((values - values[:, :1]) / temperature).exp_().double()
    ranks = vocabulary(size, exact.device)[None]
    kept = ranks < _column([sampling.top_k or size for sampling in samplings], exact)
    sums = shares.masked_fill(~kept, 0.0).cumsum(1)
    before = torch.cat([torch.zeros_like(sums[:, :1]), sums[:, :-1]], 1)
    top_p = _column([sampling.top_p if sampling.top_p < 1 else torch.inf for sampling in samplings], exact)
    kept &= before < top_p * sums[:, -1:]
    kept &= shares >= _column([sampling.min_p for sampling in samplings], exact)
    return torch.ones_like(kept).scatter_(1, order, ~kept)


def _column(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """float64 [rows, 1] on the device of `like`."""
    return torch.tensor(values, dtype=torch.float64, device=like.device)[:, None]
