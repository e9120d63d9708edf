"""A rank of a target that is cut over several: how rank 0 starts the others, and what each of them does.

Run as a program by rank 0, never by hand.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import structlog
import torch
import torch.distributed as dist
from transformers import PreTrainedModel

from outrider_serving import flags, loading, logs
from outrider_serving.cli import FlagError
from outrider_serving.engine.attention import ATTENTION, UnsupportedModel
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.quantization import Quantization
from outrider_serving.engine.ranks import GRACE_S, Ranks, join, receive
from outrider_serving.engine.replay import Replayer
from outrider_serving.engine.row_counts import make_products
from outrider_serving.engine.sharding import check_divisible, settle

log = structlog.get_logger()


def start_ranks(path: Path, dtype: flags.Dtype, quantization: Quantization | None, size: int) -> Ranks | None:
    """The other ranks, about to load as this one is; None when there are no others. Raises FlagError, ValueError."""
    if size == 1:
        return None
    try:
        check_divisible(loading.load_config(path), size)
    except UnsupportedModel as error:
        raise FlagError("--tensor-parallel-size", str(error)) from None
    gpus = torch.cuda.device_count()
    if 0 < gpus < size:
        reason = f"{size} ranks need as many GPUs, and this pod has {gpus}; give it more, or give {gpus}"
        raise FlagError("--tensor-parallel-size", reason)
    ranks = Ranks("outrider_serving.rank", size)
    ranks.send(json.dumps({"path": str(path), "dtype": dtype.value, "quantization": quantization}).encode())
    ranks.join()
    return ranks


def load_slices(path: Path, dtype: flags.Dtype, ranks: int) -> PreTrainedModel:
    """This rank's slices of the model in `path`, when all ranks have theirs; the whole model when there is one rank."""
    model = loading.load_model(path, dtype.value, ATTENTION, ranks)
    if ranks > 1:
        settle(model)
        dist.all_reduce(torch.zeros(1))  # all have loaded: what memory is left now is what caches may take
    return model


def main() -> int:
    """Loads this rank's slices and follows rank 0, forward by forward, until its pipe ends."""
    rank, size, port, parent = map(int, sys.argv[1:])
    logs.configure("target")
    structlog.contextvars.bind_contextvars(rank=rank)
    flags.use_own_cores(size)
    pipe = join(rank, size, port, parent)
    try:
        if (settings := receive(pipe)) is None:
            return 0
        about = json.loads(settings)
        model = load_slices(Path(about["path"]), flags.Dtype(about["dtype"]), size)
        runner = ModelRunner(model, about["quantization"] and Quantization(about["quantization"]))
        if (blocks := receive(pipe)) is None:
            return 0
        runner.take_memory(int.from_bytes(blocks, "little"))
        make_products(model)
        replayer = Replayer(runner.pool)
        while (message := receive(pipe)) is not None:
            runner.forward(replayer.batch(message))
    except Exception as error:
        # What fails here mostly fails on rank 0 too, which says so in its own words if it is given the time.
        time.sleep(GRACE_S)
        log.error("rank failed", reason=(str(error).strip() or type(error).__name__).splitlines()[0])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
