"""`outrider-operator` whose autoscaler is in a hurry: tests on a real server do not wait for minutes."""

from __future__ import annotations

from datetime import timedelta

from outrider_operator.__main__ import main
from outrider_operator.autoscaling import demand, gate, pods, prometheus, timing

# Of speculation that was stopped, until it is tried again.
BACKOFF_S = 8.0


def hurry() -> None:
    timing.TICK_S, timing.WINDOW_S, timing.FRESH_S = 1.0, 4.0, 2.5
    timing.WRITE_S, timing.TOLD_S = 4.0, 60.0
    prometheus.WINDOW_S = 6
    pods.HOPELESS_AFTER = timedelta(seconds=3)
    demand.LASTING_S = 5.0
    gate.STABLE_S, gate.FIRST_BACKOFF_S = 3.0, BACKOFF_S


if __name__ == "__main__":
    hurry()
    main()
