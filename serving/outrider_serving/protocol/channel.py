"""How both ends of the draft stream set up gRPC."""

from __future__ import annotations

import grpc

from outrider_serving.protocol.identity import Identity

# An Open of a million tokens is 3 MB; gRPC's own limit on what is received is 4 MB.
MAX_MESSAGE_BYTES = 64 << 20
# Trees of 512 nodes for 1024 sequences are 4.6 MB. One message of 32 MB kept a target's event loop for 22 s.
MAX_DRAFT_MESSAGE_BYTES = 8 << 20
# A peer whose machine is gone is noticed after 15 s, by either end.
KEEPALIVE_MS = 10_000
KEEPALIVE_TIMEOUT_MS = 5_000

_BOTH = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    # A target without requests sends nothing, and is to notice all the same.
    ("grpc.http2.max_pings_without_data", 0),
]
CLIENT_OPTIONS = [
    *_BOTH,
    ("grpc.max_receive_message_length", MAX_DRAFT_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # HTTPS_PROXY is set to fetch models from outside. A draft is near by, and what goes to it in clear is no proxy's.
    ("grpc.enable_http_proxy", 0),
]
SERVER_OPTIONS = [
    *_BOTH,
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Otherwise a server takes pings more often than every 5 minutes for an attack, and hangs up.
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_TIMEOUT_MS),
    # By itself gRPC shares its port with any other server of this user: each gets some of the other's targets.
    ("grpc.so_reuseport", 0),
]


def connect(address: str, name: str, identity: Identity | None) -> grpc.aio.Channel:
    """To a draft at an address. With an identity: only to one whose certificate is for `name`. Raises BadIdentity."""
    if identity is None:
        return grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS)
    # The address is a pod's; without this gRPC would look for it in the certificate.
    options = [*CLIENT_OPTIONS, ("grpc.default_authority", name)]
    return grpc.aio.secure_channel(address, identity.of_client(), options=options)


def add_port(server: grpc.aio.Server, address: str, identity: Identity | None) -> int:
    """Has the server listen, and gives the port. With an identity: only to who has one. Raises BadIdentity, and
    RuntimeError where the port is another's.
    """
    if identity is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, identity.of_server())
