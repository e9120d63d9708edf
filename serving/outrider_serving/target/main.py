"""`outrider-target`: loads the target, connects to its draft if it has one, serves the OpenAI API."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvloop
from prometheus_client import CollectorRegistry

from outrider_serving import flags, loading, logs
from outrider_serving.api.app import create_app
from outrider_serving.api.health import DraftHealth, HealthReport, OneDraftHealth, SpeculationHealth
from outrider_serving.api.keys import ApiKeys, BadKeys
from outrider_serving.cli import FlagError, run
from outrider_serving.engine.thread import EngineThread
from outrider_serving.metrics import TargetMetrics
from outrider_serving.protocol.identity import Identity
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb
from outrider_serving.role import Role, load_role
from outrider_serving.server import Server
from outrider_serving.target.control import SpeculationControl
from outrider_serving.target.draft_fleet import DraftFleet
from outrider_serving.target.drafters import Drafter, NoDraft
from outrider_serving.target.engine import TargetEngine
from outrider_serving.target.names import certified_host, check_name
from outrider_serving.target.remote import RemoteDrafter
from outrider_serving.target.scheduler import Scheduler
from outrider_serving.target.speculation import Speculation, SpeculationPolicy
from outrider_serving.target.step import TargetStep
from outrider_serving.tls import BadCertificate, ServingCertificate

log = structlog.get_logger()

PROGRAM = "outrider-target"
# What runs when nothing new comes any more may finish for this long: nearly all that its pod has for it.
DRAIN_S = 110
app = typer.Typer(add_completion=False)


class Mode(StrEnum):
    AUTO = "Auto"
    ALWAYS = "Always"
    OFF = "Off"


class Placement(StrEnum):
    SHARED = "Shared"
    OWN = "Own"


class Fallback(StrEnum):
    NGRAM = "NGram"
    NONE = "None"


@app.command(epilog="Example: outrider-target --model=hf://HuggingFaceTB/SmolLM2-135M-Instruct --max-model-len=2048")
def serve(
    model: flags.ModelFlag,
    model_mirror: flags.MirrorFlag = None,
    revision: flags.RevisionFlag = None,
    served_model_name: Annotated[
        str | None,
        typer.Option("--served-model-name", help="What requests call the model; its org/name if absent."),
    ] = None,
    dtype: flags.DtypeFlag = flags.Dtype.AUTO,
    quantization: flags.QuantizationFlag = None,
    max_model_len: flags.MaxModelLenFlag = 0,
    max_num_seqs: flags.MaxNumSeqsFlag = 8,
    max_batched_tokens: Annotated[
        int, typer.Option("--max-batched-tokens", min=16, help="Tokens of a step, prompts' and trees'.")
    ] = 512,
    max_queue: Annotated[
        int, typer.Option("--max-queue", min=0, help="Requests that may wait; one beyond is answered with 429.")
    ] = 256,
    kv_cache_memory: flags.KVCacheMemoryFlag = None,
    kv_cache_fraction: flags.KVCacheFractionFlag = None,
    host: flags.HostFlag = "0.0.0.0",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of the OpenAI API.")] = 8000,
    mode: Annotated[Mode, typer.Option("--mode", help="Auto speculates while it pays.")] = Mode.AUTO,
    draft: Annotated[
        list[str] | None,
        typer.Option(
            "--draft",
            help="HOST:PORT of a draft; may be repeated, and a name with several addresses is several. "
            "file:///PATH: those that the file lists, followed as it changes. Absent: none.",
        ),
    ] = None,
    placement: Annotated[
        Placement,
        typer.Option("--placement", help="Shared: draft and target take turns. Own: the draft runs ahead."),
    ] = Placement.SHARED,
    max_depth: Annotated[int, typer.Option("--max-depth", min=1, max=64, help="Levels of a tree.")] = 8,
    max_branches: Annotated[int, typer.Option("--max-branches", min=1, max=32, help="Children of a node.")] = 4,
    max_nodes: Annotated[int, typer.Option("--max-nodes", min=1, max=512, help="Nodes of a tree.")] = 32,
    min_probability: Annotated[
        float, typer.Option("--min-probability", min=0, max=1, help="A less probable path is pruned.")
    ] = 0.02,
    draft_patience_ms: Annotated[
        float | None,
        typer.Option("--draft-patience-ms", min=0, help="Longest wait for a tree in a step; absent: weighed."),
    ] = None,
    fallback: Annotated[
        Fallback,
        typer.Option("--fallback", help="NGram: prompt lookup joins the tree, and stands in for it."),
    ] = Fallback.NGRAM,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            min=0,
            help="Nats below the best choice within which a drafted token is taken; above 0 it is no longer lossless.",
        ),
    ] = 0.0,
    tensor_parallel_size: Annotated[
        int,
        typer.Option(
            "--tensor-parallel-size", min=1, help="Ranks that share each layer, a GPU each; on a CPU its cores."
        ),
    ] = 1,
    control: Annotated[
        Path | None,
        typer.Option(
            "--control",
            help="Folder whose file `speculation`, while it says off, keeps from speculating; looked at every second.",
        ),
    ] = None,
    identity: flags.IdentityFlag = None,
    api_keys: Annotated[
        Path | None, typer.Option("--api-keys", help="Folder with an API key in each file. Absent: everybody may ask.")
    ] = None,
    tls: Annotated[
        Path | None, typer.Option("--tls", help="Folder with tls.crt and tls.key, to speak HTTPS. Absent: HTTP.")
    ] = None,
    linger_s: flags.LingerFlag = 0,
    version: flags.VersionFlag = False,  # noqa: ARG001 its callback shows it
) -> int:
    """Serves a model behind an OpenAI-compatible API, speculating with a draft, with n-grams, or not at all."""
    logs.configure("target")
    kv_cache = flags.kv_cache_size(kv_cache_memory, kv_cache_fraction, max_num_seqs)
    policy = SpeculationPolicy(
        mode=mode.value,
        run_ahead=placement is Placement.OWN,
        max_depth=max_depth,
        max_branches=max_branches,
        max_nodes=max_nodes,
        min_probability=min_probability,
        draft_patience_s=None if draft_patience_ms is None else draft_patience_ms / 1000,
        ngrams=fallback is Fallback.NGRAM,
        tolerance=tolerance,
    )
    _check_names(draft or [])
    access = _access(identity, api_keys, tls)
    listener = flags.listen("--port", host, port)
    thread = EngineThread()
    role = thread.call(
        lambda: load_role(
            model,
            model_mirror,
            revision,
            dtype,
            max_model_len,
            kv_cache,
            served_model_name,
            quantization,
            tensor_parallel_size,
        )
    )
    drafts = draft if draft and mode is not Mode.OFF else []
    scheduler = Scheduler(max_num_seqs, max_batched_tokens)
    permission = SpeculationControl(control)
    code = uvloop.run(
        _serve(thread, role, policy, placement, scheduler, max_queue, listener, drafts, access, permission, linger_s)
    )
    if role.ranks is not None:
        role.ranks.end()
    return code


@dataclass(frozen=True)
class Access:
    """Who may speak with the target, and how it is known. What is None is open to all, and in the clear."""

    identity: Identity | None
    keys: ApiKeys | None
    certificate: ServingCertificate | None


def _access(identity: Path | None, api_keys: Path | None, tls: Path | None) -> Access:
    """Raises FlagError for a folder that does not hold what it should."""
    try:
        keys = None if api_keys is None else ApiKeys(api_keys)
    except BadKeys as error:
        raise FlagError("--api-keys", str(error)) from None
    try:
        certificate = None if tls is None else ServingCertificate(tls)
    except BadCertificate as error:
        raise FlagError("--tls", str(error)) from None
    return Access(flags.identity(identity), keys, certificate)


def _check_names(drafts: list[str]) -> None:
    for name in drafts:
        try:
            check_name(name)
        except ValueError as error:
            raise FlagError("--draft", str(error)) from None


def _fleet(role: Role, policy: SpeculationPolicy, drafts: list[str], identity: Identity | None) -> DraftFleet:
    shape = pb.TreeShape(
        max_depth=policy.max_depth,
        max_branches=policy.max_branches,
        max_nodes=policy.max_nodes,
        min_probability=policy.min_probability,
        run_ahead=policy.run_ahead,
    )
    fingerprint = loading.tokenizer_fingerprint(role.tokenizer)

    def connect(
        address: str, name: str, changed: threading.Condition, on_leaving: Callable[[], object]
    ) -> RemoteDrafter:
        host = certified_host(name, address)
        return RemoteDrafter(
            address, fingerprint, role.runner.vocabulary_size, shape, changed, on_leaving, identity, host
        )

    return DraftFleet(drafts, connect)


async def _serve(
    thread: EngineThread,
    role: Role,
    policy: SpeculationPolicy,
    placement: Placement,
    scheduler: Scheduler,
    max_queue: int,
    listener: socket.socket,
    drafts: list[str],
    access: Access,
    permission: SpeculationControl,
    linger_s: float,
) -> int:
    model = role.runner.model
    registry = CollectorRegistry()
    step_time = role.forwards.step_time
    metrics = TargetMetrics(registry, role.model_name)
    metrics.set_places(scheduler.max_num_seqs, scheduler.max_batched_tokens)
    metrics.follow_step_time(step_time)
    metrics.follow_permission(lambda: permission.allowed)
    fleet = _fleet(role, policy, drafts, access.identity) if drafts else None
    drafter: Drafter = NoDraft() if fleet is None else fleet
    if fleet is not None:
        metrics.follow_drafts(lambda: fleet.connected, lambda: fleet.incompatible)
    loop = asyncio.get_running_loop()
    failed = asyncio.Event()
    engine = TargetEngine(
        role.model_name,
        role.runner,
        role.tokenizer,
        TargetStep(
            role.runner,
            scheduler,
            Speculation(drafter, policy, step_time, lambda: permission.allowed),
        ),
        metrics,
        loading.eos_token_ids(model.config, model.generation_config, role.tokenizer),
        role.max_model_len_tokens,
        scheduler.max_num_seqs + max_queue,
        on_failure=lambda: loop.call_soon_threadsafe(failed.set),
    )

    if role.ranks is not None:
        role.ranks.on_death = lambda: loop.call_soon_threadsafe(failed.set)

    def health() -> HealthReport:
        status = drafter.status
        about = DraftHealth(status.state.value, status.model, status.reason)
        each = tuple(OneDraftHealth(**asdict(report)) for report in (fleet.reports if fleet is not None else []))
        speculation = SpeculationHealth(policy.mode, placement.value, about, each, permission.allowed)
        return HealthReport(role.model_name, speculation, "failed" if failed.is_set() else "ok")

    def accepts() -> bool:
        return not failed.is_set()

    def ready() -> bool:
        return accepts() and not server.ending

    face = create_app(
        engine, role.tokenizer, health, ready, accepts, registry, on_rejected=metrics.rejected, keys=access.keys
    )
    certificate = access.certificate
    server = Server(face, DRAIN_S, None if certificate is None else certificate.context, linger_s)
    for ends in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ends, server.end)
    engine.start(thread)
    tasks = [asyncio.create_task(server.end_on(failed)), asyncio.create_task(permission.follow())]
    if fleet is not None:
        tasks.append(asyncio.create_task(fleet.run()))
    if certificate is not None:
        tasks.append(asyncio.create_task(certificate.follow()))
    log.info(
        "serving",
        address=listener.getsockname()[:2],
        drafts=drafts,
        mode=policy.mode,
        placement=placement.value,
    )
    await server.serve(sockets=[listener])
    for task in tasks:
        task.cancel()
    await asyncio.to_thread(engine.stop)
    return 1 if failed.is_set() else 0


def main() -> None:
    run(app, PROGRAM)


if __name__ == "__main__":
    main()
