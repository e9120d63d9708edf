"""What a peer may do wrong."""

from __future__ import annotations


class ProtocolError(ValueError):
    """A message that breaks the protocol. It ends the drafting of its sequence, never the stream or the process."""


class BrokenStream(ConnectionError):
    """What a peer sends is no message, or holds more than one may: nothing further that it sends is read."""
