"""Outrider's two servers: the target, which decides every token, and the draft, which runs ahead of it."""

import os

# gRPC's core, which reads this when it is imported, would write a line that is no JSON for each handshake that fails:
# whoever reaches the port could fill the log.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
