"""Linear layers with 8-bit weights: half the bytes a forward reads, and so about half its time.

On a CPU, oneDNN multiplies int8 by int8, in AMX or VNNI. Each output channel of a weight has a scale, and each
row of the activations gets one while running. A row's product is a sum of integers, so it does not depend on how
many rows go with it: one row and sixteen give the same numbers. On a GPU torchao does it, weights only.

Quantised weights are another model than the checkpoint: a draft may use them freely, a target says other words.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import torch
from transformers import PreTrainedModel

from outrider_serving.engine.parents import parents
from outrider_serving.engine.row_counts import TiledLinear, whole_tiles

# The kernel is chosen for about so many rows. One to sixteen take the same time: 11 ms for an output layer of
# 152k x 896 on one core, where bfloat16 takes 20 ms, and torch._weight_int8pack_mm 18 to 49.
ROWS = 4
LARGEST = 127
# AVX2 without VNNI adds two products of bytes in 16 bits, and what is larger is cut off: of 255 and 127 twice it would
# be 64,770. So weights have 7 bits there (a product of 96 is 1 % off, cut off it was 14 %).
LARGEST_OF_PAIRS = 63
# Without AMX, oneDNN has a kernel for unsigned activations alone (VNNI multiplies unsigned bytes by signed ones).
# Signed ones fall to its reference: 13 ms for a row of 896 x 896 on an EPYC, where these take 0.1.
UNSIGNED_ZERO = 128


def zero_point() -> int:
    """What stands for 0 among the activations on this processor."""
    return 0 if torch.cpu.get_capabilities().get("amx_int8") else UNSIGNED_ZERO


def largest_weight(capabilities: Mapping[str, object]) -> int:
    """What the largest weight of a channel becomes. `capabilities`: as torch.cpu.get_capabilities() tells them."""
    exact = any(capabilities.get(name) for name in ("amx_int8", "avx512_vnni", "avx_vnni"))
    return LARGEST if exact or not capabilities.get("avx2") else LARGEST_OF_PAIRS


class Quantization(StrEnum):
    INT8 = "int8"
    FP8 = "fp8"


class UnsupportedQuantization(ValueError):
    """This machine or installation cannot quantise so; the message says why and what to do."""


class Int8Linear(TiledLinear):
    """y = x Wᵀ + b over an int8 weight with a float32 scale for each output channel."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach()
        largest = largest_weight(torch.cpu.get_capabilities())
        self._scales = weight.abs().amax(1).float().clamp_min_(torch.finfo(torch.float32).tiny).div_(largest)
        rounded = (weight / self._scales.unsqueeze(1)).round_().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, [ROWS, self.in_features])
        self._zeros = torch.zeros(self.out_features, dtype=torch.int64)
        self._zero_point = zero_point()
        self._bias = None if linear.bias is None else linear.bias.detach().clone()
        self.has_bias = linear.bias is not None

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """rows [..., in_features] → [..., out_features], both bfloat16 or float32."""
        flat = whole_tiles(rows.reshape(-1, self.in_features), self.steps)
        # Not vector_norm(inf): 12 µs against 95 for 8 rows of 4864. The smallest scale keeps a row of zeros at zero.
        scales = flat.abs().amax(-1, keepdim=True).float().mul_(1 / LARGEST).clamp_min_(1e-15)
        rounded = (flat / scales).round_()
        product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded.add_(self._zero_point).to(torch.uint8) if self._zero_point else rounded.to(torch.int8),
            1.0,  # of the activations: applied below, row by row
            self._zero_point,
            self._weight,
            self._scales,
            self._zeros,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        product = product.mul_(scales).to(rows.dtype)
        if self._bias is not None:
            product += self._bias
        return product[: rows.numel() // self.in_features].view(*rows.shape[:-1], self.out_features)

    def plus(self, rows: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The product added to `residual`, which stays as it is."""
        return self.forward(rows).add_(residual)


def quantize(model: PreTrainedModel, scheme: Quantization) -> None:
    """Replaces the weights of the model's linear layers, the output layer's too. The embedding stays as it is,
    also where the output layer shares it. Raises UnsupportedQuantization."""
    if model.device.type == "cpu":
        if scheme is not Quantization.INT8:
            raise UnsupportedQuantization(f"{scheme} needs a GPU; give int8 on a CPU, or leave the flag out")
        if not torch.backends.mkldnn.is_available():
            raise UnsupportedQuantization("int8 needs oneDNN, which this build of torch lacks; leave the flag out")
        for module in parents(model):
            for name, child in list(module.named_children()):
                if type(child) is torch.nn.Linear:
                    setattr(module, name, Int8Linear(child))
        return
    _quantize_by_torchao(model, scheme)


def _quantize_by_torchao(model: PreTrainedModel, scheme: Quantization) -> None:
    try:
        from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_
    except ImportError:
        raise UnsupportedQuantization(
            f"{scheme} on a GPU needs torchao; install outrider-serving[quantization], or leave the flag out"
        ) from None
    quantize_(model, Int8WeightOnlyConfig() if scheme is Quantization.INT8 else Float8WeightOnlyConfig())
