"""Runs a model over a packed batch of rows from several sequences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from outrider_serving.engine.attention import ATTENTION, PackedBatch
from outrider_serving.engine.fused_layers import fuse
from outrider_serving.engine.kv_cache import SequenceKV
from outrider_serving.engine.kv_pool import KVPool, KVShape
from outrider_serving.engine.lean_layers import streamline
from outrider_serving.engine.packed_linear import pack, packable
from outrider_serving.engine.quantization import Quantization, quantize
from outrider_serving.engine.reach import order
from outrider_serving.engine.rows import Rows
from outrider_serving.engine.short_list import shorten

# Of a runner that nobody sized: what small models and tests need.
FEW_BLOCKS = 1024


class ModelRunner:
    """A model loaded with `attn_implementation=ATTENTION`, and the pool that its caches lie in.

    Its weights are put as this machine reads them fastest, quantised if asked. Raises UnsupportedQuantization.
    short_list: of a draft, the tokens it can propose, where they are fewer than all.
    """

    def __init__(self, model: PreTrainedModel, quantization: Quantization | None = None, drafts: bool = False) -> None:
        if model.config._attn_implementation != ATTENTION:
            raise ValueError(f"load the model with attn_implementation={ATTENTION!r}")
        self.model = model
        config = model.config.get_text_config()
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.kv_shape = KVShape(
            layers=config.num_hidden_layers,
            kv_heads=config.num_key_value_heads // (model.tp_size or 1),
            head_dim=head_dim,
            dtype=model.dtype,
            device=model.device,
        )
        self.vocabulary_size: int = model.get_output_embeddings().out_features
        self._pool: KVPool | None = None
        # A rank of a tensor-parallel model keeps its slices apart: fused slices are not tested.
        if packable(model) and (model.tp_size or 1) == 1:
            fuse(model)
        self.short_list = shorten(model) if drafts else None
        if quantization is not None:
            quantize(model, quantization)
        if packable(model):
            pack(model)
            streamline(model, self.kv_shape)

    def take_memory(self, blocks: int) -> None:
        """Takes the memory of all caches to come, once, before the first of them."""
        if self._pool is not None:
            raise AssertionError("the pool has been taken")
        self._pool = self.make_pool(blocks)

    def make_pool(self, blocks: int) -> KVPool:
        return KVPool(self.kv_shape, blocks)

    @property
    def pool(self) -> KVPool:
        if self._pool is None:
            self.take_memory(FEW_BLOCKS)
        assert self._pool is not None
        return self._pool

    def new_kv(self) -> SequenceKV:
        return SequenceKV(self.pool)

    def forward(self, batch: Sequence[Rows]) -> list[torch.Tensor]:
        """One pass over all rows. Gives each sequence's logits [its rows from logits_from on, vocabulary].

        Every sequence's cache is longer by its rows afterwards. Raises PoolExhausted when there are no blocks for them.
        """
        for rows in batch:
            rows.kv.reserve(len(rows))
        ordered = order(batch)
        logits = self._logits([batch[index] for index in ordered])
        for rows in batch:
            rows.kv.advance(len(rows))
        parts = logits.split([batch[index].logits for index in ordered])
        return [part for _, part in sorted(zip(ordered, parts, strict=True), key=lambda one: one[0])]

    @torch.inference_mode()
    def _logits(self, batch: Sequence[Rows]) -> torch.Tensor:
        device = self.model.device
        tokens = torch.tensor([token for rows in batch for token in rows.tokens], device=device)
        positions = torch.tensor([position for rows in batch for position in rows.positions], device=device)
        output = self.model(
            input_ids=tokens.unsqueeze(0),
            position_ids=positions.unsqueeze(0),
            use_cache=False,
            logits_to_keep=self._wanted(batch, device),
            packed=PackedBatch(batch),
        )
        logits: torch.Tensor = output.logits[0]
        return logits

    @staticmethod
    def _wanted(batch: Sequence[Rows], device: torch.device) -> torch.Tensor:
        wanted: list[int] = []
        start = 0
        for rows in batch:
            wanted.extend(range(start + rows.logits_from, start + len(rows)))
            start += len(rows)
        return torch.tensor(wanted, dtype=torch.long, device=device)
