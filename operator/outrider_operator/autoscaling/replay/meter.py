"""What pods say of themselves, as the autoscaler gets it: readings every so often, figures over a window.

What is measured is not exact: steps are timed within some per cent, and of an acceptance rate only so many trees are
seen.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from outrider_operator.autoscaling.observation import DraftTime, Signals, StepTime
from outrider_operator.autoscaling.replay.counters import ITL_BOUNDS_S, TTFT_BOUNDS_S, Counters, cumulative
from outrider_operator.autoscaling.replay.fleet import FleetSpec
from outrider_operator.autoscaling.replay.pods import Pod, Reading
from outrider_operator.measure.growth import quantile_of

WINDOW_S = 60.0
# Of a step's fitted time, one standard deviation.
TIMING_ERROR = 0.02
KNOTS_TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
PERCENTILE = 0.95


class Meter:
    """Reads targets and makes signals of what it has read."""

    def __init__(self, fleet: FleetSpec, seed: int) -> None:
        self._fleet = fleet
        self._random = random.Random(seed)

    def read(self, targets: Sequence[Pod], now_s: float) -> None:
        """One reading of each."""
        for pod in targets:
            if pod.replica is None:
                continue
            pod.replica.advance(now_s)
            replica = pod.replica
            reading = Reading(now_s, replica.counters(), replica.running, replica.waiting, replica.kv_usage)
            pod.readings.append(reading)
            while len(pod.readings) > 2 and pod.readings[1].at_s <= now_s - WINDOW_S:
                pod.readings.popleft()

    def signals(self, targets: Sequence[Pod], drafts: int) -> Signals | None:
        """Of the targets that were read twice, their start included; None where there is none."""
        read = [pod.readings for pod in targets if len(pod.readings) > 1]
        if not read:
            return None
        total = Counters()
        for readings in read:
            total.add(readings[-1].counters, readings[0].counters)
        lengths_s = [readings[-1].at_s - readings[0].at_s for readings in read]
        # Of what one that has joined since says, only its part of the time that all have in common is added.
        window_s = max(lengths_s)
        shares = [length_s / window_s for length_s in lengths_s]
        # The first reading is the edge of the window, or a pod that had nothing yet.
        samples = [list(readings)[1:] for readings in read]

        def mean(gauge: str) -> float:
            means = (_mean([getattr(each, gauge) for each in pod]) for pod in samples)
            return sum(share * each for share, each in zip(shares, means, strict=True))

        path, accepted = self._accepted(total)
        nodes = sum(trees * depth for (_, depth), trees in total.trees.items())
        return Signals(
            window_s=window_s,
            pods=len(read),
            requests_per_s=total.arrived / window_s,
            prompt_tokens_per_s=total.prompt_tokens / window_s,
            generated_tokens_per_s=total.generated_tokens / window_s,
            running=mean("running"),
            waiting=mean("waiting"),
            kv_usage=mean("kv_usage") / len(read),
            max_sequences=self._fleet.target.max_sequences,
            step_time=self._step_time(),
            draft_time=self._draft_time() if drafts else None,
            path_acceptance=path,
            tokens_per_step=_share(total.decoded_tokens, total.sequence_steps),
            gain=_share(total.plain_s, total.step_s),
            acceptance_rate=_share(accepted, nodes),
            ttft_p95_s=quantile_of(cumulative(TTFT_BOUNDS_S, total.ttft), PERCENTILE),
            itl_p95_s=quantile_of(cumulative(ITL_BOUNDS_S, total.itl), PERCENTILE),
            itl_mean_s=_share(total.gap_s, total.decoded_tokens),
            chunk_tokens=float(self._fleet.target.chunk_tokens),
            draft_wait_share=_share(total.wait_s, total.step_s),
            draft_busy=min(1.0, total.draft_s / window_s / drafts) if drafts else None,
        )

    def _accepted(self, total: Counters) -> tuple[tuple[float, ...], float]:
        """Of the trees verified, the share accepted to each depth; and the nodes accepted."""
        trees = sum(total.trees.values())
        if trees < 1:
            return (), 0.0
        deepest = max(depth for _, depth in total.trees)
        path: list[float] = []
        for level in range(1, deepest + 1):
            expected = sum(n * acceptance**level for (acceptance, depth), n in total.trees.items() if depth >= level)
            share = expected / trees
            seen = self._random.gauss(share, (max(0.0, share * (1 - share)) / trees) ** 0.5)
            # A path that was accepted so far was accepted before.
            path.append(min(max(0.0, seen), path[-1] if path else 1.0))
        return tuple(path), trees * sum(path)

    def _step_time(self) -> StepTime:
        """As pods fit it to the steps they make: beyond twice the sequences that run at once, further tokens are those
        of prompts.
        """
        target = self._fleet.target
        error = self._error()
        widest = 2 * target.max_sequences

        def seconds(tokens: int) -> float:
            return target.forward_s(min(tokens, widest)) + max(0, tokens - widest) / target.prefill_tokens_per_s

        curve = [(tokens, error * self._error() * seconds(tokens)) for tokens in KNOTS_TOKENS]
        rising = tuple((float(n), max(each for _, each in curve[: index + 1])) for index, (n, _) in enumerate(curve))
        widest_knot = next((at for at in rising if at[0] >= target.chunk_tokens), rising[-1])
        slope = (widest_knot[1] - rising[0][1]) / max(1.0, widest_knot[0] - rising[0][0])
        return StepTime(curve=rising, prefill_token_s=slope)

    def _draft_time(self) -> DraftTime:
        draft, error = self._fleet.draft, self._error()
        return DraftTime(level_s=error * draft.of(1), sequence_s=error * draft.sequence_s)

    def _error(self) -> float:
        return max(0.5, self._random.gauss(1.0, TIMING_ERROR))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
