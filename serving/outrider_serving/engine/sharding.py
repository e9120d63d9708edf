"""A model cut over the ranks of torch.distributed: every rank holds a slice of each weight and of the KV heads.

transformers says where to cut (a model's tensor parallel plan) and reads only a rank's slices from the files. It
then runs each layer inside wrappers that turn DTensors into tensors and back at every call. `settle` puts plain
modules in their place, which cost less and can be packed like those of a whole model.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.integrations.tensor_parallel import replace_layer_number_by_wildcard

from outrider_serving.engine.attention import UnsupportedModel

COLWISE, ROWWISE, EMBEDDING, GATHERED = "colwise", "rowwise", "embedding_rowwise", "colwise_gather_output"
# Norms over a single head: whole on every rank, and nothing to do without gradients.
REPLICATED = "replicated_with_grad_allreduce"
STYLES = {COLWISE, ROWWISE, EMBEDDING, GATHERED, REPLICATED}


def check_divisible(config: PreTrainedConfig, ranks: int) -> None:
    """Raises UnsupportedModel, in one line, when a model of this config cannot be cut over so many ranks."""
    text = config.get_text_config()
    plan = text.base_model_tp_plan
    if not plan or not set(plan.values()) <= STYLES:
        strange = ", ".join(sorted(set(plan.values()) - STYLES)) if plan else ""
        reason = f"a tensor parallel plan that is not supported ({strange})" if strange else "no tensor parallel plan"
        raise UnsupportedModel(f"{text.model_type} has {reason}; leave it at 1")
    heads, kv_heads = text.num_attention_heads, text.num_key_value_heads
    if heads % ranks or kv_heads % ranks:
        shared = math.gcd(heads, kv_heads)
        divisors = " or ".join(str(number) for number in range(1, shared + 1) if shared % number == 0)
        raise UnsupportedModel(
            f"{ranks} ranks cannot share {heads} attention heads and {kv_heads} key-value heads evenly; give {divisors}"
        )


class RowwiseLinear(torch.nn.Module):
    """Each rank multiplies the features that it holds; the sum over the ranks is the product, on all of them."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        linear.register_parameter("bias", None)
        self.part = linear

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """rows [..., this rank's share of in_features] → [..., out_features]."""
        product: torch.Tensor = self.part(rows)
        dist.all_reduce(product)
        return product if self.bias is None else product + self.bias


class GatheredLinear(torch.nn.Module):
    """Each rank multiplies its share of the vocabulary; rank 0, which chooses tokens, gets all of it."""

    def __init__(self, linear: torch.nn.Linear, out_features: int) -> None:
        super().__init__()
        self.part = linear
        self.out_features = out_features
        self._width = _chunk(out_features)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """rows [..., in_features] → [..., out_features] on rank 0, elsewhere that rank's share, which nobody reads."""
        part: torch.Tensor = self.part(rows)
        if not part.numel():
            return part.new_empty(*part.shape[:-1], self.out_features)
        part = torch.nn.functional.pad(part, (0, self._width - part.shape[-1])).contiguous()
        if dist.get_rank():
            dist.gather(part)
            return part
        parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
        dist.gather(part, parts)
        return torch.cat(parts, dim=-1)[..., : self.out_features]


class ShardedEmbedding(torch.nn.Module):
    """Each rank looks up the tokens of its share of the vocabulary; the others' rows are zero in its sum."""

    def __init__(self, embedding: torch.nn.Embedding, vocabulary_size: int) -> None:
        super().__init__()
        embedding.padding_idx = None  # matters to gradients only, and names a row that another rank may hold
        self.part = embedding
        self._first = _chunk(vocabulary_size) * dist.get_rank()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens int64 [batch, rows] → [batch, rows, hidden]."""
        rows = self.part.weight.shape[0]
        local = tokens - self._first
        foreign = (local < 0) | (local >= rows)
        embedded: torch.Tensor = self.part(local.clamp(0, rows - 1)).masked_fill(foreign.unsqueeze(-1), 0)
        dist.all_reduce(embedded)
        return embedded


def _chunk(size: int) -> int:
    """How much of `size` each rank but the last holds, as torch's DTensor cuts it."""
    return -(-size // dist.get_world_size())


def settle(model: PreTrainedModel) -> None:
    """Replaces transformers' wrappers by the modules above, and DTensors by the slices they hold.

    Raises UnsupportedModel for a plan with styles that check_divisible does not know.
    """
    for path, module in list(model.named_modules()):
        style = model.tp_plan.get(replace_layer_number_by_wildcard(path))
        if style not in {None, *STYLES}:
            raise UnsupportedModel(f"{path} is to be cut in the way {style!r}, which is not supported; leave it at 1")
        whole = None if style is None else next(module.parameters()).shape[0]
        for name, parameter in list(module.named_parameters(recurse=False)):
            if isinstance(parameter, DTensor):
                # named: the same slice may stand in two modules (a head tied to the embedding)
                setattr(module, name, torch.nn.Parameter(parameter.to_local(), requires_grad=False))
        if style is not None:
            module.__dict__.pop("forward", None)  # the wrapper
            _replace(model, path, _settled(module, style, cast(int, whole)))


def _settled(module: torch.nn.Module, style: str, whole: int) -> torch.nn.Module:
    """`whole`: what the module's first dimension was before it was cut."""
    if style == EMBEDDING:
        return ShardedEmbedding(cast(torch.nn.Embedding, module), whole)
    if style == REPLICATED:
        return module
    linear = cast(torch.nn.Linear, module)
    linear.out_features, linear.in_features = linear.weight.shape
    if style == ROWWISE:
        return RowwiseLinear(linear)
    return GatheredLinear(linear, whole) if style == GATHERED else linear


def _replace(model: PreTrainedModel, path: str, module: torch.nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
