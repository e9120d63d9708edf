"""Knative's pod autoscaler on concurrency, with the defaults of its config-autoscaler.

After its own description and source (knative/serving, pkg/autoscaler/scaling): the mean concurrency over a stable
window of 60 s and a panic window of 6 s, each over the target, asked every 2 s. Where the panic window wants twice the
ready pods or more it panics: it only adds, until a whole stable window has passed without. At most 1000 times the ready
pods at once, and no less than half of them. No scale-down delay. minScale is 1: with 0 it would pay a cold start for
every lull.
"""

from __future__ import annotations

import math
from collections import deque

from outrider_operator.autoscaling.decision import Decision, Reason
from outrider_operator.autoscaling.replay.policies import paired
from outrider_operator.autoscaling.replay.sight import Sight

STABLE_S, PANIC_S, TICK_S = 60.0, 6.0, 2.0
PANIC_THRESHOLD = 2.0
MAX_SCALE_UP_RATE, MAX_SCALE_DOWN_RATE = 1000.0, 2.0


class Kpa:
    """goal: requests at once that one pod is to have."""

    tick_s = TICK_S

    def __init__(self, goal: float, least: int, most: int) -> None:
        self._goal = goal
        self._least, self._most = least, most
        self._samples: deque[float] = deque(maxlen=round(STABLE_S / TICK_S))
        self._panic_s: float | None = None
        self._panic_pods = 0
        self._begun = False

    def decide(self, sight: Sight, now_s: float) -> Decision:
        ready = max(1, sight.target.ready)
        if not self._begun and sight.target.ready > 1:
            # Of a window that is still empty nothing is believed: it begins as if in panic.
            self._panic_s, self._panic_pods = now_s, sight.target.ready
        self._begun = True
        self._samples.append(sight.in_flight)
        recent = list(self._samples)[-round(PANIC_S / TICK_S) :]
        stable, panic = sum(self._samples) / len(self._samples), sum(recent) / len(recent)
        wanted = self._panicked(ready, stable, panic, now_s)
        mode = "stable" if self._panic_s is None else "panic"
        text = (
            f"{stable:.1f} requests over 60 s, {panic:.1f} over 6 s, {self._goal:.1f} a pod is the goal; {mode} mode."
        )
        return paired(min(max(wanted, self._least), self._most), Reason("target", mode.capitalize(), text))

    def _panicked(self, ready: int, stable: float, panic: float, now_s: float) -> int:
        most, least = math.ceil(MAX_SCALE_UP_RATE * ready), math.floor(ready / MAX_SCALE_DOWN_RATE)
        wanted = min(max(math.ceil(stable / self._goal), least), most)
        for_panic = math.ceil(panic / self._goal)
        if for_panic / ready >= PANIC_THRESHOLD:
            self._panic_s = now_s
        elif self._panic_s is not None and self._panic_s + STABLE_S < now_s:
            self._panic_s, self._panic_pods = None, 0
        if self._panic_s is None:
            return wanted
        self._panic_pods = max(self._panic_pods, wanted, min(max(for_panic, least), most))
        return self._panic_pods
