"""`outrider` whose slow loop is in a hurry: what takes minutes takes seconds here, and all else is as it is.

usage: python hurried.py up FILE...
"""

from __future__ import annotations

import sys

from outrider_operator import cli
from outrider_operator.autoscaling import demand, gate, timing

timing.TICK_S = 3.0
timing.WINDOW_S = 12.0
demand.LASTING_S = 30.0
gate.STABLE_S = 12.0
gate.FIRST_BACKOFF_S = 20.0

if __name__ == "__main__":
    sys.argv[0] = "outrider"
    cli.main()
