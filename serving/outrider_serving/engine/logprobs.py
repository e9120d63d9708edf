"""Log probabilities for clients: of the model's own distribution, before temperature and penalties (vLLM's
`raw_logprobs`), so that they say what the model believes and not what the request did to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class TokenLogprob:
    """One emitted token's log probability in nats, and the likeliest tokens at its place: (token, log
    probability), most probable first.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def logprobs_of(logits: torch.Tensor, tokens: torch.Tensor, top: int) -> torch.Tensor:
    """float64 [rows, 1 + 2 * top]: the log probability of `tokens` (int64 [rows]), the likeliest tokens, theirs.

    logits [rows, vocabulary], the model's own, of any float dtype. Nothing is fetched from the device.
    """
    exact = logits.float()
    normaliser = torch.logsumexp(exact, 1, keepdim=True)
    own = exact.gather(1, tokens[:, None]) - normaliser
    likeliest = exact.topk(top, dim=1)
    return torch.cat([own.double(), likeliest.indices.double(), (likeliest.values - normaliser).double()], 1)


def token_logprob(token: int, packed: list[float], top: int) -> TokenLogprob:
    """From a row of `logprobs_of`, of whose likeliest tokens `top` were asked for."""
    held = (len(packed) - 1) // 2
    tokens, logprobs = packed[1 : 1 + top], packed[1 + held : 1 + held + top]
    return TokenLogprob(token, packed[0], tuple(zip(map(int, tokens), logprobs, strict=True)))
