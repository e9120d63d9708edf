"""Rank 0 of a target in a process of its own, without HTTP: what it generates in every way, as JSON.

python -m support.tensor_parallel TARGET DRAFT RANKS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from outrider_serving import loading, logs
from outrider_serving.engine.attention import ATTENTION
from outrider_serving.engine.model_runner import ModelRunner
from outrider_serving.engine.request import SamplingParams
from outrider_serving.flags import Dtype, KVCacheSize
from outrider_serving.role import load_role
from outrider_serving.target.speculation import SpeculationPolicy

from support.inprocess import HandCarried, draft_engine, generate, shape_of, target_step

Tokens = list[list[int]]
TOKENS = 100
# The last repeats itself, so that prompt lookup finds something; together more than one chunk of a prompt.
PROMPTS = [[1, 2, 3], list(range(40, 140)), [50, 60, 70, 80] * 150]
PLAIN = SpeculationPolicy(mode="Off")
NGRAMS = SpeculationPolicy(mode="Always")
DRAFT = SpeculationPolicy(mode="Always", ngrams=False)
WAYS = {"plain": PLAIN, "n-grams": NGRAMS, "draft": DRAFT}
TEMPERATURES = (0.0, 1.0)


def run(target: ModelRunner, draft: ModelRunner) -> dict[str, Tokens]:
    """Way and temperature → the tokens of each prompt, all prompts running at once."""
    generated = {}
    for way, policy in WAYS.items():
        for temperature in TEMPERATURES:
            engine = draft_engine(draft)
            drafter = HandCarried(engine, shape_of(policy), target.vocabulary_size) if policy is DRAFT else None
            sampling = SamplingParams(max_tokens=TOKENS, temperature=temperature, seed=5)
            generated[f"{way} {temperature}"] = generate(target_step(target, policy, drafter), PROMPTS, sampling)
    return generated


def main() -> None:
    logs.configure("target")  # to standard error
    target, draft, ranks = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    kv_cache = KVCacheSize(memory_bytes=64 << 20, fraction=None, max_num_seqs=16)
    role = load_role(f"file://{target}", None, None, Dtype.FLOAT32, 0, kv_cache, tensor_parallel_size=ranks)
    drafting = ModelRunner(loading.load_model(draft, "float32", ATTENTION))
    print(json.dumps(run(role.runner, drafting)))
    if role.ranks is not None:
        role.ranks.end()


if __name__ == "__main__":
    main()
