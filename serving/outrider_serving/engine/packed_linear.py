"""Linear layers whose weights lie in memory as oneDNN reads them.

On a CPU, oneDNN otherwise reorders a bfloat16 weight at every call, which moves each of its bytes more often
than the product itself does. Packed once, one to sixteen rows take 0.6 to 0.8 of the time (measured on AMX). In
float32 torch asks MKL, which takes three times as long for four rows as for one; packed for oneDNN four take 1.2 times
as long, and a row's product is the same to the bit whatever goes with it (1536 x 17920, an EPYC with AVX2).
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from outrider_serving.engine.parents import parents
from outrider_serving.engine.row_counts import TiledLinear, whole_tiles

# The kernel that oneDNN chooses for a layout is chosen for about so many rows: a step's, not a prompt's.
ROWS = 4


class PackedLinear(TiledLinear):
    """y = x Wᵀ + b over a packed weight, bfloat16 or float32."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach().clone()
        self.has_bias = linear.bias is not None

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """rows [..., in_features] of the weight's dtype → [..., out_features]."""
        padded = whole_tiles(rows, self.steps)
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(padded, self._weight, self._bias, "none", [], "")
        return product[..., : rows.shape[-2], :]

    def plus(self, rows: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The product added to `residual`, which stays as it is."""
        padded, under = whole_tiles(rows, self.steps), whole_tiles(residual, self.steps)
        total: torch.Tensor = torch.ops.mkldnn._linear_pointwise(padded, under, self._weight, self._bias, "add")
        return total[..., : rows.shape[-2], :]


def packable(model: PreTrainedModel) -> bool:
    if model.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if model.dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    # oneDNN's float32 is tried on such processors alone.
    return model.dtype is torch.float32 and bool(torch.cpu.get_capabilities().get("avx2"))


def pack(model: PreTrainedModel) -> None:
    """Replaces the model's linear layers and lets go of the weights they had.

    What is left (embedding, norms) is copied, because any view of the checkpoint's file keeps all of it mapped.
    """
    for module in parents(model):
        for name, child in list(module.named_children()):
            if type(child) is torch.nn.Linear:
                setattr(module, name, PackedLinear(child))
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
