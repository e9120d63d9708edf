"""A target as its process serves it: engine, drafts and API wired together, until it is told to end or fails."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass

import structlog
from prometheus_client import CollectorRegistry

from outrider_serving import loading
from outrider_serving.api.app import create_app
from outrider_serving.api.health import DraftHealth, HealthReport, OneDraftHealth, SpeculationHealth
from outrider_serving.api.keys import ApiKeys
from outrider_serving.engine.thread import EngineThread
from outrider_serving.metrics import TargetMetrics
from outrider_serving.protocol.identity import Identity
from outrider_serving.protocol.outrider.draft.v1 import draft_pb2 as pb
from outrider_serving.role import Role
from outrider_serving.server import Server
from outrider_serving.target.control import SpeculationControl
from outrider_serving.target.draft_fleet import DraftFleet
from outrider_serving.target.drafters import Drafter, NoDraft
from outrider_serving.target.engine import TargetEngine
from outrider_serving.target.names import certified_host
from outrider_serving.target.remote import RemoteDrafter
from outrider_serving.target.scheduler import Scheduler
from outrider_serving.target.speculation import Speculation, SpeculationPolicy
from outrider_serving.target.step import TargetStep
from outrider_serving.tls import ServingCertificate

log = structlog.get_logger()

# What runs when nothing new comes any more may finish for this long: nearly all that its pod has for it.
DRAIN_S = 110


@dataclass(frozen=True)
class Access:
    """Who may speak with the target, and how it is known. What is None is open to all, and in the clear."""

    identity: Identity | None
    keys: ApiKeys | None
    certificate: ServingCertificate | None


@dataclass(frozen=True)
class Limits:
    """max_num_seqs: requests that run at once. max_batched_tokens: of a step. max_queue: requests that may wait."""

    max_num_seqs: int
    max_batched_tokens: int
    max_queue: int


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for besides the model. drafts: their names; none are asked where it is empty.
    linger_s: for which a target that is told to end goes on taking requests.
    """

    limits: Limits
    policy: SpeculationPolicy
    drafts: list[str]
    access: Access
    permission: SpeculationControl
    linger_s: float


class TargetService:
    """Made and run in the event loop that serves."""

    def __init__(self, thread: EngineThread, role: Role, wanted: Wanted) -> None:
        self._thread = thread
        self._role = role
        self._wanted = wanted
        self._failed = asyncio.Event()
        self._fleet = _fleet(role, wanted.policy, wanted.drafts, wanted.access.identity) if wanted.drafts else None
        self._drafter: Drafter = NoDraft() if self._fleet is None else self._fleet
        self._step_time = role.forwards.step_time()
        registry = CollectorRegistry()
        metrics = self._metrics(registry)
        self._engine = self._target_engine(metrics)
        access = wanted.access
        face = create_app(
            self._engine,
            role.tokenizer,
            self._health,
            self._ready,
            self._accepts,
            registry,
            on_rejected=metrics.rejected,
            keys=access.keys,
        )
        context = None if access.certificate is None else access.certificate.context
        self._server = Server(face, DRAIN_S, context, wanted.linger_s)

    def _metrics(self, registry: CollectorRegistry) -> TargetMetrics:
        metrics = TargetMetrics(registry, self._role.model_name)
        metrics.set_places(self._wanted.limits.max_num_seqs, self._wanted.limits.max_batched_tokens)
        metrics.follow_step_time(self._step_time)
        metrics.follow_permission(lambda: self._wanted.permission.allowed)
        fleet = self._fleet
        if fleet is not None:
            metrics.follow_drafts(lambda: fleet.connected, lambda: fleet.incompatible)
        return metrics

    def _target_engine(self, metrics: TargetMetrics) -> TargetEngine:
        """It fails in its own thread; so may another rank, in the one that watches it."""
        role, limits, permission = self._role, self._wanted.limits, self._wanted.permission
        loop = asyncio.get_running_loop()

        def fail() -> None:
            loop.call_soon_threadsafe(self._failed.set)

        if role.ranks is not None:
            role.ranks.on_death = fail
        speculation = Speculation(self._drafter, self._wanted.policy, self._step_time, lambda: permission.allowed)
        model = role.runner.model
        return TargetEngine(
            role.model_name,
            role.runner,
            role.tokenizer,
            TargetStep(role.runner, Scheduler(limits.max_num_seqs, limits.max_batched_tokens), speculation),
            metrics,
            loading.eos_token_ids(model.config, model.generation_config, role.tokenizer),
            role.max_model_len_tokens,
            limits.max_num_seqs + limits.max_queue,
            on_failure=fail,
        )

    @property
    def _placement(self) -> str:
        return "Own" if self._wanted.policy.run_ahead else "Shared"

    def _health(self) -> HealthReport:
        status, policy = self._drafter.status, self._wanted.policy
        about = DraftHealth(status.state.value, status.model, status.reason)
        reports = [] if self._fleet is None else self._fleet.reports
        each = tuple(OneDraftHealth(**asdict(report)) for report in reports)
        allowed = self._wanted.permission.allowed
        speculation = SpeculationHealth(policy.mode, self._placement, about, each, allowed)
        return HealthReport(self._role.model_name, speculation, "ok" if self._accepts() else "failed")

    def _accepts(self) -> bool:
        return not self._failed.is_set()

    def _ready(self) -> bool:
        return self._accepts() and not self._server.ending

    async def run(self, listener: socket.socket) -> int:
        """Serves until SIGTERM or SIGINT, or until the engine fails. The process's exit code."""
        loop = asyncio.get_running_loop()
        for ends in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(ends, self._server.end)
        self._engine.start(self._thread)
        tasks = self._beside()
        log.info(
            "serving",
            address=listener.getsockname()[:2],
            drafts=self._wanted.drafts,
            mode=self._wanted.policy.mode,
            placement=self._placement,
        )
        await self._server.serve(sockets=[listener])
        for task in tasks:
            task.cancel()
        await asyncio.to_thread(self._engine.stop)
        return 0 if self._accepts() else 1

    def _beside(self) -> list[asyncio.Task[None]]:
        """What goes on beside the server."""
        certificate = self._wanted.access.certificate
        going = [self._server.end_on(self._failed), self._wanted.permission.follow()]
        if self._fleet is not None:
            going.append(self._fleet.run())
        if certificate is not None:
            going.append(certificate.follow())
        return [asyncio.create_task(each) for each in going]


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
