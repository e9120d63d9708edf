"""Becomes a role's process: dies with its parent, keeps to its cores, then turns into the rendered command.

Run by path, as a program of its own and with the standard library only: what it does must happen in the child
between fork and exec, where a process that has threads cannot safely run Python.

usage: launch.py PARENT_PID CORES COMMAND [ARG...]     CORES: comma-separated logical CPUs, or "all"
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
COMMAND_NOT_STARTED = 127


def die_with(parent_pid: int) -> None:
    """Has Linux kill this process when its parent ends, however that ends; elsewhere it does nothing."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended before the request: no signal would come
        os._exit(COMMAND_NOT_STARTED)


def keep_to(cores: str) -> None:
    """Pins this process, and the threads it will start, to the given logical CPUs."""
    if cores != "all" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])


def main() -> None:
    parent_pid, cores, command, *args = sys.argv[1:]
    die_with(int(parent_pid))
    keep_to(cores)
    try:
        os.execv(command, [command, *args])
    except OSError as problem:
        sys.stderr.write(f"{command}: {problem.strerror}\n")
        sys.exit(COMMAND_NOT_STARTED)


if __name__ == "__main__":
    main()
