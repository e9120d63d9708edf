"""transformers' continuous batching in a process of its own, asked by JSON lines as hf_worker.py is.

usage: python -m benchmarks.load.batching_worker --target=DIR --dtype=bfloat16

{"requests": [{"prompt": [1, 2], "tokens": 8}], "streams": 4, "temperature": 0.0, "seed": 1} is answered by
{"streams": [{"sent_s": ..., "arrivals_s": [...], "tokens": 8}], "wall_s": ...}, seconds since the batch began.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import torch
from outrider_serving import flags, loading
from transformers import ContinuousBatchingConfig, GenerationConfig

from benchmarks.hf_worker import answers_only, serve

# What was fastest of what it can do on a CPU: README.md has the comparison.
ATTENTION = "sdpa"
PAGE_TOKENS = 64
MAX_BATCH_TOKENS = 512
NO_END = -1  # no token ends an answer
RESULT_S = 1.0


class Worker:
    """A model, and a manager for every batch: what computes is a thread of the manager's, which ends with the batch."""

    def __init__(self, target: Path, dtype: str) -> None:
        # A pool of OpenMP threads left behind by this thread would be counted against the manager's: it has none.
        torch.set_num_threads(1)
        self._model: Any = loading.load_model(target, dtype)
        for weight in self._model.parameters():
            weight.data = weight.data.clone()  # as in hf_worker.py: pages of the file could be dropped
        self._model.set_attn_implementation(ATTENTION)
        flags.use_own_cores()

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One batch, closed loop: a request that ends is followed by the next."""
        requests, streams = request["requests"], request["streams"]
        manager = self._manager(requests, streams, request["temperature"], request["seed"])
        manager.warmup()  # makes the cache
        manager.start()
        try:
            return self._run(manager, requests, streams)
        finally:
            manager.stop(block=True)
            manager.destroy()

    def _manager(self, requests: Sequence[Mapping[str, Any]], streams: int, temperature: float, seed: int) -> Any:
        longest_tokens = max(len(each["prompt"]) + each["tokens"] for each in requests)
        generation = GenerationConfig(
            do_sample=temperature > 0,
            temperature=temperature or 1.0,
            top_k=0,
            top_p=1.0,
            eos_token_id=NO_END,
            pad_token_id=0,
        )
        batching = ContinuousBatchingConfig(
            page_size=PAGE_TOKENS,
            num_blocks=streams * (ceil(longest_tokens / PAGE_TOKENS) + 1),
            max_batch_tokens=MAX_BATCH_TOKENS,
            seed=seed,
            auto_switch_to_flash=False,
        )
        return self._model.init_continuous_batching(generation_config=generation, continuous_batching_config=batching)

    def _run(self, manager: Any, requests: Sequence[Mapping[str, Any]], streams: int) -> dict[str, Any]:
        start_s = time.perf_counter()
        waiting = iter(requests)
        sent_s: dict[str, float] = {}
        ended: list[dict[str, Any]] = []

        def send() -> None:
            for each in waiting:
                at_s = time.perf_counter() - start_s
                name = manager.add_request(
                    each["prompt"], max_new_tokens=each["tokens"], record_timestamps=True, eos_token_id=NO_END
                )
                sent_s[name] = at_s
                return

        for _ in range(streams):
            send()
        while len(ended) < len(requests):
            result = manager.get_result(timeout=RESULT_S)
            if result is None:
                if not manager.is_running():
                    raise RuntimeError(f"continuous batching ended: {manager.background_thread_status.fatal_error}")
                continue
            if result.error is not None:
                raise RuntimeError(result.error)
            if result.is_finished():
                send()
                ended.append(
                    {
                        "sent_s": sent_s[result.request_id],
                        "arrivals_s": [at_s - start_s for at_s in result.timestamps],
                        "tokens": len(result.generated_tokens),
                    }
                )
        return {"streams": ended, "wall_s": time.perf_counter() - start_s}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--dtype", required=True)
    args = parser.parse_args()
    answers = answers_only()
    worker = Worker(args.target, args.dtype)
    serve(worker.answer, sys.stdin, answers)


if __name__ == "__main__":
    main()
