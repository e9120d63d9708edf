"""Fewer, larger operations for a model's own code: one product where it asks for several of the same rows.

Found by shape, not by family: an attention with q_proj, k_proj and v_proj, an MLP with gate_proj and up_proj, a
norm as Llama writes it. The model's code runs unchanged over what stands in for them. Rounding may differ from the
model's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from outrider_serving.engine.parents import parents

GROUPS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class FusedProduct(torch.nn.Module):
    """The linear layers of a group as one, whose output each of them takes its columns of."""

    def __init__(self, linears: Sequence[torch.nn.Linear]) -> None:
        super().__init__()
        self.widths = [linear.out_features for linear in linears]
        product = torch.nn.Linear(linears[0].in_features, sum(self.widths), bias=False, device="meta")
        product.weight = _joined([linear.weight for linear in linears])
        biases = [linear.bias for linear in linears if linear.bias is not None]
        if biases:
            product.register_parameter("bias", _joined(biases))
        self.product = product
        self._rows: torch.Tensor | None = None
        self._parts: list[torch.Tensor] = []
        self._untaken = 0

    def part(self, rows: torch.Tensor, index: int) -> torch.Tensor:
        """rows [..., in_features] → the index-th layer's [..., out_features], a view. Computed at the first ask."""
        if rows is not self._rows:
            self._rows = rows
            self._parts = list(self.product(rows).split(self.widths, dim=-1))
            self._untaken = len(self._parts)
        part = self._parts[index]
        self._untaken -= 1
        if self._untaken == 0:
            self._rows, self._parts = None, []
        return part


def _joined(parts: Sequence[torch.Tensor]) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.cat([part.detach() for part in parts]), requires_grad=False)


class Projection(torch.nn.Module):
    """Stands where a linear layer of a group stood."""

    def __init__(self, fused: FusedProduct, index: int) -> None:
        super().__init__()
        self.fused = fused
        self.out_features = fused.widths[index]
        self._index = index

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.fused.part(rows, self._index)


def fuse(model: PreTrainedModel) -> None:
    """Fuses every group of linear layers and every norm of the model, and lets go of the weights they had."""
    for module in parents(model):
        for names in GROUPS:
            linears = [getattr(module, name, None) for name in names]
            if _alike(linears):
                fused = FusedProduct(linears)  # type: ignore[arg-type]
                for index, name in enumerate(names):
                    setattr(module, name, Projection(fused, index))
        for name, child in list(module.named_children()):
            # Gemma's norm multiplies by 1 + weight and calls its epsilon eps, so it is none of these.
            if type(child).__name__.endswith("RMSNorm") and hasattr(child, "variance_epsilon"):
                weight: torch.nn.Parameter = child.weight  # type: ignore[assignment]
                norm = torch.nn.RMSNorm(weight.shape[0], eps=float(child.variance_epsilon), device="meta")  # type: ignore[arg-type]
                norm.weight = weight
                setattr(module, name, norm)


def _alike(linears: Sequence[object]) -> bool:
    """All plain linear layers that read the same rows, all with a bias or none."""
    plain = [linear for linear in linears if type(linear) is torch.nn.Linear]
    return (
        len(plain) == len(linears)
        and len({linear.in_features for linear in plain}) == 1
        and len({linear.bias is None for linear in plain}) == 1
    )
