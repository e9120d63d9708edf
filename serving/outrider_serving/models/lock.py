"""A lock on a volume that several pods share."""

from __future__ import annotations

import errno
import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

POLL_S = 0.2
REMINDER_S = 30.0
NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}


@contextmanager
def held(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Holds the lock file at `path`, which stays; while another holds it, waits and calls on_wait now and then.

    By flock: the kernel gives the lock back however its holder ends. It holds between machines where the volume
    passes it on: NFSv4, CephFS, Lustre mounted with flock. On a volume without locks this does not wait.
    """
    with path.open("w") as lock:
        due_s = time.monotonic()
        while not _taken(lock):
            if time.monotonic() >= due_s:
                on_wait()
                due_s += REMINDER_S
            time.sleep(POLL_S)
        yield


def _taken(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True
