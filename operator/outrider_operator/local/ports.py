"""Whether a port of the loopback is free, who has it when it is not, and another one that is."""

import errno
import os
import socket

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
