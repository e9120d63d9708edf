"""What both roles do before they serve: load their model, and measure it."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

import structlog
from transformers import PreTrainedTokenizerBase

from outrider_serving import flags, loading
from outrider_serving.cli import FlagError
from outrider_serving.engine.attention import UnsupportedModel
from outrider_serving.engine.kv_pool import BLOCK_TOKENS
from outrider_serving.engine.memory import pool_blocks
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.parallel_runner import ParallelRunner
from outrider_serving.engine.quantization import Quantization, UnsupportedQuantization
from outrider_serving.engine.ranks import Ranks
from outrider_serving.engine.row_counts import make_products
from outrider_serving.engine.warmup import ForwardTimes, measure_forwards
from outrider_serving.rank import load_slices, start_ranks

log = structlog.get_logger()

# 256 tokens: room for what warm-up reads, also where a context is shorter.
LEAST_BLOCKS = 16


@dataclass(frozen=True)
class Role:
    """A model and what is known of it before the first request. forwards: what a forward takes, from warm-up."""

    model_name: str
    runner: ModelRunner
    tokenizer: PreTrainedTokenizerBase
    max_model_len_tokens: int
    forwards: ForwardTimes
    ranks: Ranks | None = None


def load_role(
    uri: str,
    mirror: str | None,
    revision: str | None,
    dtype: flags.Dtype,
    max_model_len: int,
    kv_cache: flags.KVCacheSize,
    model_name: str | None = None,
    quantization: Quantization | None = None,
    tensor_parallel_size: int = 1,
    drafts: bool = False,
) -> Role:
    """Loads and warms up the model that the flags name, to draft or to be a target. Raises FlagError."""
    threads = flags.use_own_cores(tensor_parallel_size)
    started = time.perf_counter()
    try:
        path = loading.resolve(uri, revision, mirror)
        tokenizer = loading.load_tokenizer(path)
        ranks = start_ranks(path, dtype, quantization, tensor_parallel_size)
        model = load_slices(path, dtype, tensor_parallel_size)
        own_length = loading.model_context_length(model.config)
    except FlagError:
        raise
    except ValueError as error:
        raise FlagError("--model", str(error)) from None
    length = flags.context_length(max_model_len, own_length)
    steady = loading.steady_rope_length(model.config)
    if steady is not None and length > steady:
        reason = f"one request of more than {steady} tokens would change what this model's RoPE gives the others"
        raise FlagError("--max-model-len", f"{reason}; give at most {steady}")
    try:
        if ranks is None:
            runner = ModelRunner(model, quantization, drafts=drafts)
        else:
            runner = ParallelRunner(model, quantization, ranks)
        _take_memory(runner, kv_cache, length, tensor_parallel_size)
        make_products(model)
        forwards = measure_forwards(runner)
    except UnsupportedQuantization as error:
        raise FlagError("--quantization", str(error)) from None
    except UnsupportedModel as error:
        raise FlagError("--model", f"{uri}: {error}") from None
    # A full collection walks all that the libraries made, 200,000 objects in 80 ms, while every stream stands still.
    gc.collect()
    gc.freeze()
    # Python puts a full collection off until a quarter of what the last one left has been added: now that is nothing.
    gc.collect()
    role = Role(model_name or flags.model_name(uri), runner, tokenizer, length, forwards, ranks)
    log.info(
        "model loaded",
        model=role.model_name,
        dtype=str(model.dtype).removeprefix("torch."),
        quantization=quantization,
        ranks=tensor_parallel_size,
        threads=threads,
        kv_cache_tokens=runner.pool.blocks * BLOCK_TOKENS,
        kv_cache_mib=runner.pool.blocks * runner.kv_shape.block_bytes >> 20,
        seconds=round(time.perf_counter() - started, 1),
        forward_ms={rows: round(1000 * seconds, 1) for rows, seconds in role.forwards.by_rows.items()},
    )
    return role


def _take_memory(runner: ModelRunner, kv_cache: flags.KVCacheSize, max_model_len_tokens: int, ranks: int) -> None:
    """Raises FlagError when the memory allowed does not hold even a short sequence."""
    shape = runner.kv_shape
    allowed = kv_cache.allowed_bytes(shape.device, ranks)
    blocks = pool_blocks(shape, allowed, kv_cache.max_num_seqs, max(max_model_len_tokens, LEAST_BLOCKS * BLOCK_TOKENS))
    if blocks < LEAST_BLOCKS:
        flag = "--kv-cache-fraction" if kv_cache.memory_bytes is None else "--kv-cache-memory"
        has, needs = ranks * allowed >> 20, -(-ranks * LEAST_BLOCKS * shape.block_bytes >> 20)
        raise FlagError(flag, f"{has} MiB hold too few tokens of this model; give {needs} MiB or more")
    runner.take_memory(blocks)
