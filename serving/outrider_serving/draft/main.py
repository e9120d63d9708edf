"""`outrider-draft`: loads the draft model and drafts for every target that connects."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Annotated

import grpc
import structlog
import typer
import uvloop
from prometheus_client import CollectorRegistry

from outrider_serving import flags, loading, logs
from outrider_serving.cli import run
from outrider_serving.draft.engine import DraftEngine
from outrider_serving.draft.server import Description, DraftLoop, DraftServicer
from outrider_serving.engine.thread import EngineThread
from outrider_serving.metrics import DraftMetrics
from outrider_serving.probes import probes_app
from outrider_serving.protocol.channel import SERVER_OPTIONS, add_port
from outrider_serving.protocol.identity import Identity
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2_grpc as rpc
from outrider_serving.role import load_role
from outrider_serving.server import Server

log = structlog.get_logger()

PROGRAM = "outrider-draft"
# Targets that have another draft move their sequences to it for this long at most, before the streams end.
DRAIN_S = 5.0
app = typer.Typer(add_completion=False)


@app.command(epilog="Example: outrider-draft --model=hf://Qwen/Qwen2.5-Coder-0.5B-Instruct --max-model-len=4096")
def serve(
    model: flags.ModelFlag,
    model_mirror: flags.MirrorFlag = None,
    revision: flags.RevisionFlag = None,
    dtype: flags.DtypeFlag = flags.Dtype.AUTO,
    quantization: flags.QuantizationFlag = None,
    max_model_len: flags.MaxModelLenFlag = 0,
    max_num_seqs: flags.MaxNumSeqsFlag = 16,
    kv_cache_memory: flags.KVCacheMemoryFlag = None,
    kv_cache_fraction: flags.KVCacheFractionFlag = None,
    host: flags.HostFlag = "0.0.0.0",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of the gRPC draft service.")] = 50051,
    http_port: Annotated[
        int, typer.Option("--http-port", min=0, max=65535, help="Port of /health, /ready and /metrics.")
    ] = 9400,
    identity: flags.IdentityFlag = None,
    linger_s: flags.LingerFlag = 0,
    version: flags.VersionFlag = False,  # noqa: ARG001 its callback shows it
) -> int:
    """Drafts token trees for targets. The shape of the trees is each target's own and comes with its stream."""
    logs.configure("draft")
    kv_cache = flags.kv_cache_size(kv_cache_memory, kv_cache_fraction, max_num_seqs)
    known_by = flags.identity(identity)
    probes = flags.bind("--http-port", host, http_port)
    flags.bind("--port", host, port).close()
    thread = EngineThread()
    role = thread.call(
        lambda: load_role(
            model, model_mirror, revision, dtype, max_model_len, kv_cache, quantization=quantization, drafts=True
        )
    )
    about = Description(
        model=role.model_name,
        tokenizer_fingerprint=loading.tokenizer_fingerprint(role.tokenizer),
        vocabulary_size=role.runner.vocabulary_size,
        max_model_len_tokens=role.max_model_len_tokens,
        dtype=str(role.runner.model.dtype).removeprefix("torch."),
    )
    level_time = role.forwards.step_time()
    engine = DraftEngine(role.runner, max_num_seqs, role.max_model_len_tokens, level_time)
    flags.listen("--http-port", probes)
    return uvloop.run(_serve(about, thread, engine, host, port, probes, known_by, linger_s))


async def _serve(
    about: Description,
    thread: EngineThread,
    engine: DraftEngine,
    host: str,
    port: int,
    probes: socket.socket,
    identity: Identity | None,
    linger_s: float,
) -> int:
    registry = CollectorRegistry()
    loop = asyncio.get_running_loop()
    failed = asyncio.Event()
    metrics = DraftMetrics(registry, about.model)
    metrics.follow_levels(engine.levels)
    drafting = DraftLoop(engine, metrics, on_failure=lambda: loop.call_soon_threadsafe(failed.set))
    drafts = grpc.aio.server(options=SERVER_OPTIONS)
    rpc.add_DraftServicer_to_server(DraftServicer(about, drafting), drafts)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        add_port(drafts, address, identity)
    except RuntimeError:
        raise flags.port_taken("--port", host, port) from None

    def healthy() -> bool:
        return not failed.is_set()

    def ready() -> bool:
        return healthy() and not drafting.draining

    http = Server(probes_app(about.model, registry, healthy, ready), drain_s=1)
    ending = asyncio.Event()
    for ends in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ends, ending.set)
    drafting.start(thread)
    await drafts.start()
    log.info("drafting", address=address, mutual_tls=identity is not None)
    watches = [asyncio.create_task(http.end_on(failed)), asyncio.create_task(_drain(ending, drafting, http, linger_s))]
    await http.serve(sockets=[probes])
    for watch in watches:
        watch.cancel()
    await drafts.stop(grace=0.2)
    await asyncio.to_thread(drafting.stop)
    return 1 if failed.is_set() else 0


async def _drain(ending: asyncio.Event, drafting: DraftLoop, http: Server, linger_s: float) -> None:
    """After the first signal to end; a second one ends at once."""
    await ending.wait()
    ending.clear()
    draining = asyncio.create_task(drafting.drain(DRAIN_S, linger_s))
    again = asyncio.create_task(ending.wait())
    await asyncio.wait([draining, again], return_when=asyncio.FIRST_COMPLETED)
    http.end()


def main() -> None:
    run(app, PROGRAM)


if __name__ == "__main__":
    main()
