"""The processes of a model that is cut over several: rank 0 serves, the others compute what it tells them.

Rank 0 starts the others and speaks to each through a pipe, which is also what keeps it alive: a rank whose pipe
ends leaves. A pipe, not a broadcast, because a rank that waits in a collective for the next request of a quiet hour
burns a core or a GPU, and runs into the collective's timeout. In between the ranks meet in torch.distributed only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import BinaryIO

import structlog
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore

log = structlog.get_logger()

HOST = "127.0.0.1"
# Ranks load at different speeds; while they serve, the death of one is seen otherwise.
TIMEOUT = timedelta(hours=2)
GRACE_S = 5.0
END_S = 10.0
REAPED_S = 0.2
_HEADER = struct.Struct("<q")
_PR_SET_PDEATHSIG = 1


class RankDied(RuntimeError):
    """A rank ended before it was told to; nothing can be computed any more."""


def send(pipe: BinaryIO, message: bytes) -> None:
    pipe.write(_HEADER.pack(len(message)) + message)
    pipe.flush()


def receive(pipe: BinaryIO) -> bytes | None:
    """The next message, or None when the sender has ended."""
    header = pipe.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    (length,) = _HEADER.unpack(header)
    message = pipe.read(length)
    return message if len(message) == length else None


class Ranks:
    """Ranks 1 to size − 1, as processes of `python -m MODULE RANK SIZE PORT PARENT`.

    When one of them ends unasked, this process cannot go on: it has `END_S` for its own way out, if on_death is set to
    one, and is then ended with exit code 1. A collective would wait for the dead.

    To be made in a thread that lives as long as the process: the kernel ends the ranks with the thread that
    started them.
    """

    def __init__(self, module: str, size: int) -> None:
        self.size = size
        self.on_death: Callable[[], object] | None = None
        self._ending = False
        # Bound to the loopback by hand: torch would listen on every address of the pod.
        listener = socket.create_server((HOST, 0))
        port = listener.getsockname()[1]
        _stay_on_this_machine()
        self._processes = [self._start(module, rank, port) for rank in range(1, size)]
        self._pipes = [_writable(process) for process in self._processes]
        self._store = TCPStore(
            HOST,
            port,
            size,
            is_master=True,
            timeout=TIMEOUT,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )
        for process in self._processes:
            threading.Thread(target=self._watch, args=(process,), name="rank", daemon=True).start()

    def _start(self, module: str, rank: int, port: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", module, *map(str, (rank, self.size, port, os.getpid()))]
        return subprocess.Popen(command, stdin=subprocess.PIPE)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        if not self._ending:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            log.error("a rank ended, and this process with it", rank=self._processes.index(process) + 1, how=how)
            if self.on_death is not None:
                self.on_death()
                time.sleep(END_S)
            os._exit(1)

    @property
    def complete(self) -> bool:
        """Whether all live. The kernel closes the connections of one that ends before it tells of its end."""
        time.sleep(REAPED_S)
        return all(process.poll() is None for process in self._processes)

    def join(self) -> None:
        """Waits for all ranks, each of which calls the function `join`."""
        _join(self._store, 0, self.size)

    def send(self, message: bytes) -> None:
        """To every rank. Raises RankDied."""
        try:
            for pipe in self._pipes:
                send(pipe, message)
        except BrokenPipeError:
            raise RankDied("a rank has ended; see its log lines") from None

    def end(self) -> None:
        """Returns when all have ended, by force if need be."""
        self._ending = True
        for pipe in self._pipes:
            # Of a rank that is gone: what was not sent to it cannot be.
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        deadline_s = time.monotonic() + GRACE_S
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def join(rank: int, size: int, port: int, parent: int) -> BinaryIO:
    """In a rank that `Ranks` has started: ties its life to rank 0's, meets the others, and gives the pipe on which
    messages come.
    """
    _end_with(parent)
    # Rank 0 decides when to end, after the streams that run; a terminal's Ctrl-C reaches all.
    for ends in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ends, signal.SIG_IGN)
    _stay_on_this_machine()
    _join(TCPStore(HOST, port, size, is_master=False, timeout=TIMEOUT), rank, size)
    return sys.stdin.buffer


def _join(store: TCPStore, rank: int, size: int) -> None:
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)
        os.environ["LOCAL_RANK"] = str(rank)  # transformers places its slices by it
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)


def _stay_on_this_machine() -> None:
    os.environ.update(GLOO_SOCKET_IFNAME="lo", NCCL_SOCKET_IFNAME="lo")


def _end_with(parent: int) -> None:
    """The kernel kills this process when its parent is gone, even in the middle of a collective."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _writable(process: subprocess.Popen[bytes]) -> BinaryIO:
    assert process.stdin is not None
    return process.stdin  # type: ignore[return-value]
