"""transformers in a process of its own, asked by JSON lines on standard input and answering on standard output.

usage: python -m benchmarks.hf_worker --target=DIR [--draft=DIR] --dtype=bfloat16 [--draft-dtype=bfloat16] [--mend]

{"prompt": [1, 2], "tokens": 8, "assisted": true} is answered by the fields of `Answer` (runs.py), a failure by
{"error": "..."}. The first line says {"ready": true}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import torch
from outrider_serving import flags, loading
from transformers.generation.streamers import BaseStreamer

# How many tokens prompt lookup copies; transformers has no default for it.
LOOKUP_TOKENS = 10


class Arrivals(BaseStreamer):
    """Notes when the first tokens came and how many they were. The prompt is streamed too, and comes first."""

    def __init__(self) -> None:
        self._prompt_seen = False
        self.first_s: float | None = None
        self.first_tokens = 0

    def put(self, value: torch.Tensor) -> None:
        if self._prompt_seen and self.first_s is None:
            self.first_s = time.perf_counter()
            self.first_tokens = value.numel()
        self._prompt_seen = True

    def end(self) -> None: ...


class Worker:
    """A target, and a draft if there is one; without one, assisted means prompt lookup."""

    def __init__(self, target: Path, draft: Path | None, dtype: str, draft_dtype: str, *, mend: bool) -> None:
        flags.use_own_cores()
        self._mend = mend
        self._tokenizer = loading.load_tokenizer(target)
        self._target: Any = self._load(target, dtype)
        self._assistant = (
            {"prompt_lookup_num_tokens": LOOKUP_TOKENS}
            if draft is None
            else {"assistant_model": self._load(draft, draft_dtype)}
        )

    def _load(self, path: Path, dtype: str) -> Any:
        model: Any = loading.load_model(path, dtype)
        for weight in model.parameters():
            # A copy, as Outrider packs one: pages of the file could be dropped while others run, and read again.
            weight.data = weight.data.clone()
        # As many tokens as asked for, whatever they are: what Outrider calls ignore_eos.
        model.generation_config.eos_token_id = None
        if self._mend:
            model.get_output_embeddings().register_forward_pre_hook(_packed_rows)
        return model

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of `Answer`, by their names."""
        prompt, tokens = request["prompt"], request["tokens"]
        arrivals = Arrivals()
        ids = torch.tensor([prompt])
        started_s = time.perf_counter()
        given = self._target.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            do_sample=False,
            streamer=arrivals,
            **(self._assistant if request["assisted"] else {}),
        )
        total_s = time.perf_counter() - started_s
        answer: list[int] = given[0, len(prompt) :].tolist()
        return {
            "text": self._tokenizer.backend_tokenizer.decode(answer, skip_special_tokens=True),
            "tokens": len(answer),
            "first_s": (arrivals.first_s or started_s) - started_s,
            "first_tokens": arrivals.first_tokens,
            "total_s": total_s,
        }


def _packed_rows(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    """The last rows of a longer tensor, copied: given a view of them torch multiplies by a copy of the whole weight.

    That is what transformers runs into after every prompt, and assisted generation in every step.
    """
    return (inputs[0].clone(memory_format=torch.contiguous_format),)


def serve(answer: Callable[[Mapping[str, Any]], dict[str, Any]], requests: TextIO, answers: TextIO) -> None:
    """Answers request after request, until the input ends."""
    _send(answers, {"ready": True})
    for line in requests:
        try:
            message = answer(json.loads(line))
        except Exception as error:  # transformers raises whatever it likes; the benchmark is to name it
            message = {"error": f"{type(error).__name__}: {error}"}
        _send(answers, message)


def _send(answers: TextIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def answers_only() -> TextIO:
    """Standard output for the answers alone: whatever a library prints must not come between them."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--draft", type=Path)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--draft-dtype", default="auto")
    parser.add_argument("--mend", action="store_true")
    args = parser.parse_args()
    answers = answers_only()
    worker = Worker(args.target, args.draft, args.dtype, args.draft_dtype, mend=args.mend)
    serve(worker.answer, sys.stdin, answers)


if __name__ == "__main__":
    main()
