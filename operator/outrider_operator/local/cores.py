"""Which logical CPUs each process keeps to, when draft and target have hardware of their own."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from outrider_operator.local.errors import LocalError

TOPOLOGY = "/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"


def assign_cores(available: Sequence[int], wanted: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Gives one pod of each role that many CPUs of its own, in the order of `wanted` (target first) and of `available`.

    Raises LocalError, naming the first role's field that does not fit.
    """
    assigned: dict[str, tuple[int, ...]] = {}
    taken = 0
    for role, count in wanted.items():
        if taken + count > len(available):
            left = "" if taken == 0 else f", {len(available) - taken} of them left beside {' and '.join(assigned)}"
            field = f"spec.{role}.resources.requests.cpu"
            raise LocalError(
                f"{field}: {count} asked for, this machine has {len(available)}{left};"
                " ask for fewer, or leave the cpu requests out so that draft and target share all of them"
            )
        assigned[role] = tuple(available[taken : taken + count])
        taken += count
    return assigned


def share_cores(left: Sequence[int], each: int, pods: int) -> list[tuple[int, ...]]:
    """The CPUs of each of several pods of a role: `each` of its own where there are enough `left`, else all of them."""
    if each * pods > len(left):
        return [tuple(left)] * pods
    return [tuple(left[each * pod : each * (pod + 1)]) for pod in range(pods)]


def spread_over_cores(siblings: Mapping[int, Sequence[int]]) -> list[int]:
    """Orders CPUs so that one hardware thread of every core comes before any second thread of a core.

    siblings: for each CPU the CPUs of its core, itself included. Two processes on the two threads of one core
    would slow each other, which is what pinning is there to prevent.
    """
    return sorted(siblings, key=lambda cpu: (sorted(siblings[cpu]).index(cpu), cpu))


def machine_cores() -> list[int]:
    """The CPUs that this process may use, in the order in which to hand them out."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    cpus = os.sched_getaffinity(0)
    return spread_over_cores({cpu: _siblings(cpu) for cpu in cpus})


def _siblings(cpu: int) -> list[int]:
    try:
        text = Path(TOPOLOGY.format(cpu=cpu)).read_text()
    except OSError:
        return [cpu]
    found = [
        sibling
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", text)
        for sibling in range(int(first), int(last or first) + 1)
    ]
    return found if cpu in found else [cpu]
