"""When a process that ended is started again. Pure: what happened goes in, the wait comes out."""

from dataclasses import dataclass
from signal import Signals

LONGEST_WAIT_S = 30.0
HEALTHY_AFTER_S = 60.0
CANNOT_START = 2


@dataclass(frozen=True)
class Ending:
    """How one run of a process ended."""

    exit_code: int  # negative: the signal that ended it
    was_ready: bool
    ready_for_s: float  # 0 when it never was


@dataclass(frozen=True)
class Backoff:
    """How often in a row a process has been restarted without staying healthy for a minute."""

    restarts: int = 0

    def after(self, ending: Ending) -> tuple[float, "Backoff"]:
        """Seconds to wait before the next start, and the state after it.

        A process that had been ready is started again at once the first time: it is not known to be broken,
        and streams are waiting for it. From then on 1, 2, 4 … 30 s.
        """
        restarts = 0 if ending.ready_for_s >= HEALTHY_AFTER_S else self.restarts
        if restarts == 0 and ending.was_ready:
            return 0.0, Backoff(1)
        restarts = max(restarts, 1)
        # The exponent is capped as well as the wait: a week of failures must not overflow a float.
        return min(LONGEST_WAIT_S, 2.0 ** min(restarts - 1, 10)), Backoff(restarts + 1)


def cannot_start(ending: Ending, ever_ready: bool) -> bool:
    """Whether starting it again is pointless: with exit code 2 before it was ever ready it refused its input.

    A process that has been ready had good input, so what stops it now may pass: a port still held, for one.
    """
    return ending.exit_code == CANNOT_START and not ever_ready


def describe_exit(exit_code: int) -> str:
    """An exit code as a person reads it: `exit code 3`, `killed by SIGKILL`."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"killed by {Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"
