"""With how many targets a replay begins."""

from __future__ import annotations

import math
from collections.abc import Sequence

from outrider_operator.autoscaling.replay.fleet import FleetSpec
from outrider_operator.autoscaling.replay.physics import Physics
from outrider_operator.autoscaling.replay.trace import Request

FIRST_S = 300.0


def start_replicas(trace: Sequence[Request], fleet: FleetSpec, utilization: float, most: int) -> int:
    """Targets that the mean load of the first five minutes keeps busy for such a share of their time, if they decode as
    many sequences at once as they can: one at least. The same for all policies, so that none pays for a cold start.
    """
    first = [request for request in trace if request.arrival_s < FIRST_S]
    spec = fleet.target
    step = Physics(fleet).step(spec.max_sequences, reading=False, carried=spec.max_sequences)
    tokens_per_s = spec.max_sequences * step.tokens / step.seconds
    prompt_s = sum(request.prompt_tokens for request in first) / spec.prefill_tokens_per_s
    answer_s = sum(request.generated_tokens for request in first) / tokens_per_s
    length_s = min(FIRST_S, max(1.0, trace[-1].arrival_s))
    return min(max(1, math.ceil((prompt_s + answer_s) / length_s / utilization)), most)
