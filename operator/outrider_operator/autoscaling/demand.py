"""What clients ask of all targets together: now, in a while, and lately. Pure."""

from __future__ import annotations

from dataclasses import replace
from operator import add, sub

from outrider_operator.autoscaling.estimate import Load
from outrider_operator.autoscaling.history import Demand
from outrider_operator.autoscaling.observation import Signals

# Scale-down believes neither a lull of a minute nor the minute before a surge's end.
LASTING_S = 600.0
# With so many requests waiting for each target, what is generated is what the targets can do and not what is asked.
SATURATED_WAITING = 1.0
# Of a queue that grows by nearly all that comes: so many times as much is asked as is served, at most.
MOST_UNSERVED = 4.0
# What still waits when a pod asked for now is ready is to be gone in so long: longer, and those who wait have left;
# shorter, and a moment's queue asks for a fleet.
DRAIN_S = 300.0

NOTHING = Load()


def sampled(past: tuple[Demand, ...], signals: Signals, now_s: float) -> tuple[Demand, ...]:
    """The past and what is asked now.

    Tokens are counted when they are read and generated: while requests wait they are those of the requests served, not
    of those that came. Then they are taken as what so many arrivals usually ask.
    """
    kept = tuple(sample for sample in past if sample.at_s > now_s - LASTING_S)
    asked = Load(signals.requests_per_s, signals.prompt_tokens_per_s, signals.generated_tokens_per_s)
    if kept and signals.waiting >= SATURATED_WAITING * signals.pods:
        usual = _mean(kept)
        elapsed_s = now_s - kept[0].at_s
        if 0 < elapsed_s < signals.window_s:
            # Nothing is usual yet, as after a restart in a surge: arrivals less what the queue grew by were served.
            grown = max(0.0, signals.waiting - kept[0].waiting) / elapsed_s
            usual = replace(asked, requests=max(asked.requests - grown, asked.requests / MOST_UNSERVED))
        if usual.requests > 0:
            tokens = usual.times(asked.requests / usual.requests)
            asked = replace(asked.with_(tokens, max), requests=asked.requests)
    return (*kept, Demand(now_s, asked, signals.waiting))


def lasting(samples: tuple[Demand, ...]) -> Load:
    """The mean of all samples, or the last where that is more."""
    return _mean(samples).with_(samples[-1].load, max)


def soon(samples: tuple[Demand, ...], ahead_s: float, apart_s: float) -> Load:
    """What will be asked in `ahead_s` if a rise goes on. The rise is the smaller of the last two, `apart_s` each (a
    window of the signals or more), so that a jump is not taken for a slope; never a fall.
    """
    last = samples[-1]
    middle, first = (_at(samples, last.at_s - steps * apart_s, apart_s) for steps in (1, 2))
    if middle is None or first is None:
        return last.load
    rise = last.load.with_(middle.load, sub).with_(middle.load.with_(first.load, sub), min).with_(NOTHING, max)
    return last.load.with_(rise.times(ahead_s / apart_s), add)


def with_backlog(load: Load, waiting: float, capacity: float, start_s: float) -> Load:
    """The load, and what will wait when a pod asked for now is ready. capacity: requests by second that those pods do
    which are there, or will be without this decision.
    """
    left = waiting + (load.requests - capacity) * start_s
    return load.times(1 + max(0.0, left) / DRAIN_S / load.requests) if load.requests > 0 else load


def _at(samples: tuple[Demand, ...], at_s: float, apart_s: float) -> Demand | None:
    """The last sample that is not after that time; None where none was taken about then, as in an outage."""
    near = (sample for sample in reversed(samples) if at_s - apart_s / 2 < sample.at_s <= at_s)
    return next(near, None)


def _mean(samples: tuple[Demand, ...]) -> Load:
    total = NOTHING
    for sample in samples:
        total = total.with_(sample.load, add)
    return total.times(1 / len(samples)) if samples else total
