"""Rank 0's runner of a model that is cut over several ranks. To those who use it, a ModelRunner."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.quantization import Quantization
from outrider_serving.engine.ranks import RankDied, Ranks
from outrider_serving.engine.replay import RecordedPool
from outrider_serving.engine.rows import Rows


class ParallelRunner(ModelRunner):
    """Every forward is told to the other ranks first, so that they meet this one in its collectives."""

    def __init__(self, model: PreTrainedModel, quantization: Quantization | None, ranks: Ranks) -> None:
        super().__init__(model, quantization)
        self._ranks = ranks

    def take_memory(self, blocks: int) -> None:
        """As ModelRunner's, on every rank."""
        super().take_memory(blocks)
        self._ranks.send(blocks.to_bytes(8, "little"))

    def make_pool(self, blocks: int) -> RecordedPool:
        return RecordedPool(self.kv_shape, blocks)

    def forward(self, batch: Sequence[Rows]) -> list[torch.Tensor]:
        """As ModelRunner's. Raises RankDied."""
        pool = self.pool
        assert isinstance(pool, RecordedPool)
        for rows in batch:
            rows.kv.reserve(len(rows))
        self._ranks.send(pool.message(batch))
        try:
            return super().forward(batch)
        except RuntimeError as error:
            if self._ranks.complete:
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RankDied(f"a rank ended during a forward ({reason})") from None
