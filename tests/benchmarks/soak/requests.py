"""What the clients of a soak ask for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

LONGEST_ANSWER_TOKENS = 192
# How a request ends: by its length, by a stop string, or by its client, who goes away within so many seconds.
ENDINGS = ("length", "stop", "cancel")
ENDING_WEIGHTS = (6, 2, 2)
LONGEST_PATIENCE_S = 20.0
STOPS = (" the", "\n", ".", " is")
TEMPERATURES = (0.0, 0.7, 1.0)


def ending_of(rng: random.Random) -> str:
    return rng.choices(ENDINGS, ENDING_WEIGHTS)[0]


def request_body(rng: random.Random, prompts: Sequence[tuple[int, ...]], ending: str) -> dict[str, Any]:
    """A request of any length and temperature."""
    body: dict[str, Any] = {
        "prompt": rng.choice(prompts),
        "max_tokens": rng.randint(1, LONGEST_ANSWER_TOKENS),
        "temperature": rng.choice(TEMPERATURES),
        "seed": rng.randrange(2**31),
        "ignore_eos": rng.random() < 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return body | ({"stop": rng.sample(STOPS, 2)} if ending == "stop" else {})
