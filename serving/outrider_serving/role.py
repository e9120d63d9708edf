"""What both roles do before they serve: load their model, and measure it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog
from transformers import PreTrainedTokenizerBase

from outrider_serving import flags, loading
from outrider_serving.cli import FlagError
from outrider_serving.engine.attention import ATTENTION, UnsupportedModel
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.quantization import Quantization, UnsupportedQuantization
from outrider_serving.engine.warmup import measure_forwards

log = structlog.get_logger()


@dataclass(frozen=True)
class Role:
    """A model and what is known of it before the first request. forwards_s: rows → seconds, from warm-up."""

    model_name: str
    runner: ModelRunner
    tokenizer: PreTrainedTokenizerBase
    max_model_len_tokens: int
    forwards_s: dict[int, float]


def load_role(
    uri: str,
    mirror: str | None,
    revision: str | None,
    dtype: flags.Dtype,
    max_model_len: int,
    model_name: str | None = None,
    quantization: Quantization | None = None,
) -> Role:
    """Loads and warms up the model that the flags name. Raises FlagError for what they name wrongly."""
    threads = flags.use_own_cores()
    started = time.perf_counter()
    try:
        path = loading.resolve(uri, revision, mirror)
        tokenizer = loading.load_tokenizer(path)
        model = loading.load_model(path, dtype.value, ATTENTION)
        own_length = loading.model_context_length(model.config)
    except ValueError as error:
        raise FlagError("--model", str(error)) from None
    length = flags.context_length(max_model_len, own_length)
    try:
        runner = ModelRunner(model, quantization)
        forwards_s = dict(measure_forwards(runner))
    except UnsupportedQuantization as error:
        raise FlagError("--quantization", str(error)) from None
    except UnsupportedModel as error:
        raise FlagError("--model", f"{uri}: {error}") from None
    role = Role(model_name or flags.model_name(uri), runner, tokenizer, length, forwards_s)
    log.info(
        "model loaded",
        model=role.model_name,
        dtype=str(model.dtype).removeprefix("torch."),
        quantization=quantization,
        threads=threads,
        seconds=round(time.perf_counter() - started, 1),
        forward_ms={rows: round(1000 * seconds, 1) for rows, seconds in role.forwards_s.items()},
    )
    return role
