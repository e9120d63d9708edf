"""Ports that are free, and stay so until somebody listens there."""

from __future__ import annotations

import random
import socket

# Below those that the system gives to outgoing connections (32768 and more on Linux): of these, one that is free now
# may be a client's by the time that a process has loaded and listens. Many tests make many connections.
FIRST, LAST = 20000, 32000

_given: set[int] = set()


def free_port() -> int:
    """Of the loopback; the same is not given again: whoever was given it may not listen there yet."""
    while True:
        port = random.SystemRandom().randint(FIRST, LAST)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
