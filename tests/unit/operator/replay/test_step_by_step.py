"""Sequences that advance at one pace between events, against a target that is simulated step by step."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from statistics import mean

import pytest
from outrider_operator.autoscaling.replay.trace import Request
from unit.operator.replay.replays import FLEET, accepting, replayed, steady

TARGET = FLEET.target


@dataclass
class Running:
    request: Request
    prompt_left: float
    tokens_left: float
    first_s: float = 0.0
    end_s: float = 0.0


def stepped(trace: list[Request]) -> list[Running]:
    """Plain decoding on one target: every step a token for each sequence, and up to a chunk of the prompts, first come
    first served, several short ones together.
    """
    jobs = [Running(request, request.prompt_tokens, request.generated_tokens) for request in trace]
    coming, reading, decoding = deque(jobs), deque[Running](), list[Running]()
    now_s = 0.0
    while coming or reading or decoding:
        while coming and coming[0].request.arrival_s <= now_s and len(reading) + len(decoding) < TARGET.max_sequences:
            reading.append(coming.popleft())
        if not reading and not decoding:
            now_s = coming[0].request.arrival_s
            continue
        room = float(TARGET.chunk_tokens)
        read: list[Running] = []
        while reading and room > 0:
            part = min(room, reading[0].prompt_left)
            reading[0].prompt_left -= part
            room -= part
            if reading[0].prompt_left <= 0:
                read.append(reading.popleft())
        decode_s = TARGET.forward_s(len(decoding)) if decoding else 0.0
        now_s += decode_s + (TARGET.chunk_tokens - room) / TARGET.prefill_tokens_per_s
        for job in decoding:
            job.tokens_left -= 1
            job.end_s = now_s
        for job in read:
            job.tokens_left -= 1
            job.first_s = job.end_s = now_s
        decoding = [job for job in [*decoding, *read] if job.tokens_left > 0]
    return jobs


@pytest.mark.parametrize(
    ("per_s", "prompt", "answer"), [(1.0, 800, 150), (3.0, 1000, 100), (5.0, 1000, 60), (8.0, 60, 300)]
)
def test_both_say_the_same_but_for_a_step(per_s: float, prompt: int, answer: int) -> None:
    rng = random.Random(11)
    at_s, trace = 0.0, []
    for _ in range(600):
        at_s += rng.expovariate(per_s)
        trace.append(
            Request(at_s, round(rng.uniform(0.2, 1.8) * prompt) + 1, round(rng.uniform(0.2, 1.8) * answer) + 2)
        )
    exact = stepped(trace)
    paced = replayed(trace, steady(1), accepting(0.0)).jobs
    step_s = TARGET.forward_s(TARGET.max_sequences) + TARGET.chunk_s
    first_s = mean(job.first_s - job.request.arrival_s for job in exact)
    assert mean(job.ttft_s or 0.0 for job in paced) == pytest.approx(first_s, rel=0.1, abs=step_s)
    itl_s = mean((job.end_s - job.first_s) / (job.request.generated_tokens - 1) for job in exact)
    assert mean(job.itl_s or 0.0 for job in paced) == pytest.approx(itl_s, rel=0.1)
    ended_s = max(job.end_s for job in exact)
    assert max(job.end_s or 0.0 for job in paced) == pytest.approx(ended_s, rel=0.02)
