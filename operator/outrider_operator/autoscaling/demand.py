"""What clients ask of all targets together: now, in a while, and lately. Pure."""

from __future__ import annotations

import math
from dataclasses import replace
from operator import add, sub
from statistics import median_low

from outrider_operator.autoscaling.estimate import P95_OF_NORMAL, Load, Pace, correction
from outrider_operator.autoscaling.history import Demand
from outrider_operator.autoscaling.observation import Signals

# What is called lately, and usual: a lull of a minute is not believed to last, nor is the minute before a surge's end.
LASTING_S = 600.0
# With so many requests queued for each target it serves what it can, not what is asked. A target at 0.8 of its most has
# four on average.
SATURATED_QUEUE = 4.0
# Of a queue that grows by nearly all that comes: so many times as much is asked as is served, at most.
MOST_UNSERVED = 4.0
# What a request usually brings is known of so many at least: with one in ten minutes it is the tokens of answers that
# began before, thousands a request.
LEAST_ARRIVALS = 10
# What still waits when a pod asked for now is ready is to be gone in so long: longer, and those who wait have left;
# shorter, and a moment's queue asks for a fleet.
DRAIN_S = 300.0
# Standard deviation of minutes over their mean, at least, however calm the last ten were: people come in waves, and
# twice the mean has to fit.
LEAST_VARIATION = 0.6
# Pods that are there within a window of the signals need no room for waves; those that take so long all of it.
SLOW_START_S = 180.0
# Of a rise so much goes on: rises end, and who takes them to go on overshoots (Gardner's damped trend).
DAMPING = 0.5
# A load that grows by more within a window is a burst.
BURST = 0.25
# Windows that have to agree before bursts are taken for the nature of this traffic.
REPEATED = 2

NOTHING = Load()


def queued(signals: Signals) -> float:
    """Requests that wait for a place or for their prompt to be read. Those that decode are told by Little's law."""
    decoding = signals.running if signals.itl_mean_s is None else signals.generated_tokens_per_s * signals.itl_mean_s
    return signals.waiting + max(0.0, signals.running - decoding)


def sampled(past: tuple[Demand, ...], signals: Signals, now_s: float) -> tuple[Demand, ...]:
    """The past and what is asked now.

    Tokens are counted when they are read and generated: while a queue grows or is worked off they are not those of the
    requests that come. Then they are taken as what so many arrivals usually ask.
    """
    kept = tuple(sample for sample in past if sample.at_s > now_s - LASTING_S)
    asked = Load(signals.requests_per_s, signals.prompt_tokens_per_s, signals.generated_tokens_per_s)
    queue = queued(signals)
    full = queue >= SATURATED_QUEUE * signals.pods
    # The window still holds what was queued in it.
    saturated = full or any(
        sample.queued >= SATURATED_QUEUE * signals.pods for sample in kept if sample.at_s > now_s - signals.window_s
    )
    if saturated:
        asked = _usually(kept, asked, queue, signals.window_s, now_s)
    return (*kept, Demand(now_s, asked, queue, saturated, signals.pods, signals.ttft_p95_s))


def likely(samples: tuple[Demand, ...], start_s: float) -> Load:
    """What may come before a pod asked for now is ready: nineteen minutes of twenty ask for less, by how the last ones
    varied around their mean. Where pods start at once, only the mean.
    """
    mean = _mean(samples)
    waits = min(1.0, start_s / SLOW_START_S)
    return mean.times(1 + waits * P95_OF_NORMAL * max(LEAST_VARIATION, _variation(samples, mean)))


def soon(samples: tuple[Demand, ...], ahead_s: float, apart_s: float) -> Load:
    """What will be asked in `ahead_s` if half of a rise goes on. The rise is the smaller of the last two, `apart_s`
    each (a window of the signals or more), so that a jump is not taken for a slope; never a fall.
    """
    last = samples[-1]
    middle, first = (_at(samples, last.at_s - steps * apart_s, apart_s) for steps in (1, 2))
    if middle is None or first is None:
        return last.load
    rise = last.load.with_(middle.load, sub).with_(middle.load.with_(first.load, sub), min).with_(NOTHING, max)
    return last.load.with_(rise.times(DAMPING * ahead_s / apart_s), add)


def comparable(samples: tuple[Demand, ...], window_s: float) -> bool:
    """Whether what this window's requests met is owed to this window's load: it began with no queue, and the load was
    not much less before, for a mean says little of a burst.
    """
    now, before = samples[-1], _at(samples, samples[-1].at_s - window_s, window_s)
    if before is None or before.saturated:
        return False
    pairs = (
        (now.load.requests, before.load.requests),
        (now.load.prompt_tokens, before.load.prompt_tokens),
        (now.load.generated_tokens, before.load.generated_tokens),
    )
    return all(one <= (1 + BURST) * other for one, other in pairs)


def lateness(samples: tuple[Demand, ...], pace: Pace, window_s: float) -> float:
    """How many times as long as the model says the first tokens took in the windows of the last minutes, in the lower
    middle of them; 1 where there are too few. One window says nothing of the next, but traffic that comes in bursts
    does so again, and queues longer than independent arrivals would.
    """
    found, last_s = [], math.inf
    for sample in reversed(samples):
        if sample.at_s > last_s - window_s or not sample.ttft_p95_s or sample.load.requests <= 0:
            continue
        window = [each for each in samples if sample.at_s - window_s <= each.at_s <= sample.at_s]
        if all(each.pods == sample.pods > 0 for each in window):
            predicted = pace.predict(sample.load.over(sample.pods))
            found.append(correction(sample.ttft_p95_s, predicted.ttft_p95_s))
            last_s = sample.at_s
    return median_low(found) if len(found) >= REPEATED else 1.0


def with_backlog(load: Load, queue: float, capacity: float, start_s: float) -> Load:
    """The load, and what will wait when a pod asked for now is ready. capacity: requests by second that those pods do
    which are there, or will be without this decision.
    """
    left = queue + (load.requests - capacity) * start_s
    return load.times(1 + max(0.0, left) / DRAIN_S / load.requests) if load.requests > 0 else load


def _usually(kept: tuple[Demand, ...], asked: Load, queue: float, window_s: float, now_s: float) -> Load:
    """As many requests as came, and the tokens that so many usually bring."""
    calm = tuple(sample for sample in kept if not sample.saturated)
    usual = _mean(calm)
    if not calm or usual.requests * (calm[-1].at_s - calm[0].at_s + window_s) < LEAST_ARRIVALS:
        # No better time is known, as after a restart in a surge: arrivals less what the queue grew by were served.
        since = next((sample for sample in kept if sample.at_s > now_s - window_s), None)
        grown = max(0.0, queue - since.queued) / (now_s - since.at_s) if since and since.at_s < now_s else 0.0
        usual = replace(asked, requests=max(asked.requests - grown, asked.requests / MOST_UNSERVED))
    return usual.times(asked.requests / usual.requests) if usual.requests > 0 else asked


def _at(samples: tuple[Demand, ...], at_s: float, apart_s: float) -> Demand | None:
    """The last sample that is not after that time; None where none was taken about then, as in an outage."""
    near = (sample for sample in reversed(samples) if at_s - apart_s / 2 < sample.at_s <= at_s)
    return next(near, None)


def _mean(samples: tuple[Demand, ...]) -> Load:
    total = NOTHING
    for sample in samples:
        total = total.with_(sample.load, add)
    return total.times(1 / len(samples)) if samples else total


def _variation(samples: tuple[Demand, ...], mean: Load) -> float:
    """Standard deviation of the prompts' and answers' tokens over their mean, the larger of both."""
    found = 0.0
    for values, middle in (
        ([sample.load.prompt_tokens for sample in samples], mean.prompt_tokens),
        ([sample.load.generated_tokens for sample in samples], mean.generated_tokens),
    ):
        if middle > 0:
            found = max(found, math.sqrt(sum((value - middle) ** 2 for value in values) / len(values)) / middle)
    return found
