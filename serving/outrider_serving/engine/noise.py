"""Gumbel noise from a counter hash of (seed, position, token): any token's noise is had without the others', on
either side of the wire.

The hash has 32 bits, so noise has bounds.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from outrider_serving.engine.sampling import MASK_64, mix_64

MOST_NOISE = 22.9
LEAST_NOISE = -3.2
LEAST_COMPLEMENT = 2.0**-33


def key_of(seed: int, position: int) -> tuple[int, int]:
    """Two int32 that stand for the seed and the position in the hash."""
    key = mix_64(mix_64(seed & MASK_64) ^ position)
    return _signed_32(key), _signed_32(key >> 32)


def _signed_32(value: int) -> int:
    """The low 32 bits of `value`, as an int32 holds them."""
    return (value & 0x7FFFFFFF) - (value & 0x80000000)


_FIRST = _signed_32(0x85EBCA6B)
_SECOND = _signed_32(0xC2B2AE35)


def _mix_32_(state: torch.Tensor) -> torch.Tensor:
    """murmur3's finaliser in place, int32. Products wrap, and `>>` is made logical by a mask."""
    shifted = (state >> 16).bitwise_and_(0xFFFF)
    state.bitwise_xor_(shifted).mul_(_FIRST)
    torch.bitwise_right_shift(state, 13, out=shifted)
    state.bitwise_xor_(shifted.bitwise_and_(0x7FFFF)).mul_(_SECOND)
    torch.bitwise_right_shift(state, 16, out=shifted)
    return state.bitwise_xor_(shifted.bitwise_and_(0xFFFF))


def hashed(tokens: torch.Tensor, low: int | torch.Tensor, high: int | torch.Tensor) -> torch.Tensor:
    """int32 of the shape of `tokens` (int32) with a key: ints, or int32 tensors [rows, 1]."""
    return _mix_32_(_mix_32_(tokens ^ low).add_(high))


def gumbel_of(hashes: torch.Tensor) -> torch.Tensor:
    """Gumbel(0, 1), float64, from hashes (int32) of the same shape."""
    uniform = hashes.double().add_(2.0**31 + 0.5).mul_(2.0**-32)
    return uniform.log_().neg_().log_().neg_()


def gumbel(seed: int, position: int, tokens: torch.Tensor) -> torch.Tensor:
    """Gumbel(0, 1) noise, float64 [n], of each of `tokens` (integers [n]) at an absolute position."""
    return gumbel_of(hashed(tokens.int(), *key_of(seed, position)))


def complement_below(hashes: torch.Tensor) -> torch.Tensor:
    """c, float32, at most 1 - u, where u is the uniform number that a hash (int32) stands for: so 1/c is at least
    exp(noise), since -log u >= 1 - u. The hash is consumed.

    Float32 rounds a hash by up to 2^-26 of the range, hence the distance kept.
    """
    return hashes.float().mul_(-(2.0**-32)).add_(0.5 - 2.0**-25).clamp_(min=LEAST_COMPLEMENT)


@lru_cache(maxsize=8)
def vocabulary(size: int, device: torch.device) -> torch.Tensor:
    """All tokens, int32 [size]; shared, so never written to."""
    return torch.arange(size, dtype=torch.int32, device=device)
