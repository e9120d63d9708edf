"""Whether a port of the loopback is free, who has it when it is not, and another one that is."""

import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import psutil

LOOPBACK = "127.0.0.1"


def port_problem(port: int) -> str | None:
    """Why nothing can listen on the port, or None when it is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as problem:
            if problem.errno == errno.EADDRINUSE:
                return f"port {port} is in use{_by_whom(port)}"
            return f"port {port} cannot be opened ({os.strerror(problem.errno or 0).lower()})"
    # macOS lets the loopback be bound beside a listener on every interface, and shares the requests out.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        if probe.connect_ex((LOOPBACK, port)) == 0:
            return f"port {port} is in use{_by_whom(port)}"
    return None


def free_port(preferred: int, taken: set[int]) -> int:
    """The preferred port when it is free and not in `taken`, else one that the system picks."""
    port = preferred
    while port in taken or port_problem(port) is not None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((LOOPBACK, 0))
            port = probe.getsockname()[1]
    return port


class HeldPorts:
    """The ports of one run, which no other run is given meanwhile.

    A port is chosen long before anything listens there, for a model is loaded first. A socket that is bound to it would
    stand in the way of the process that it is for: what is held is a lock on a file, which ends with this process.
    """

    def __init__(self) -> None:
        self._locks: dict[int, BinaryIO] = {}

    def hold(self, port: int) -> bool:
        """Whether the port is this run's now: not where a run has it already, be it this one."""
        lock = _lock_file(port)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._locks[port] = lock
        return True

    def hold_free(self, preferred: int) -> int:
        """The preferred port where it is free and no run has it, else another one that is this run's now."""
        port = free_port(preferred, set(self._locks))
        while not self.hold(port):
            port = free_port(port, {*self._locks, port})
        return port

    def give_back(self, ports: Iterable[int]) -> None:
        """Other runs may have them from now on. A port that is not held, such as one of podTemplate's, is no matter."""
        for port in self._locks.keys() & set(ports):
            self._locks.pop(port).close()

    def close(self) -> None:
        """Gives all of them back."""
        self.give_back(self._locks)


def _lock_file(port: int) -> BinaryIO:
    """Of all users of this machine. It stays: one that is removed may just have been opened by another run."""
    file = Path(tempfile.gettempdir()) / f"outrider-port-{port}"
    if not file.exists():
        file.touch()
        file.chmod(0o644)  # whatever the umask: who can read it can lock it
    return file.open("rb")


def _by_whom(port: int) -> str:
    """` by NAME (pid N)` where this user may know it, else nothing."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.laddr and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        return ""
    return ""
