"""One run: models at once, then rest, then single changes; for each number of models a namespace of its own."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import yaml
from cluster.assets import get_assets
from cluster.control_plane import ControlPlane
from cluster.kubectl import Kubectl
from cluster.operator_process import ROOT, SYSTEM, Operator, install, token
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.resources.build import build
from outrider_operator.resources.platform import Platform

from benchmarks import machine
from benchmarks.errors import BenchError
from benchmarks.reconcile.report import Point, build_report, show
from benchmarks.reconcile.server import Object, Seen, Server
from benchmarks.report import write_json
from benchmarks.screen import Screen, duration

SAMPLE = ROOT / "manifests" / "samples" / "qwen-coder.yaml"
# Every kind that a model has objects of where no optional API is served.
KINDS = (
    "api/v1/serviceaccounts",
    "api/v1/configmaps",
    "api/v1/services",
    "apis/networking.k8s.io/v1/networkpolicies",
    "apis/apps/v1/deployments",
)
LONGEST_S = 600.0
# The last status is written some time after the last child.
QUIET_S = 5.0


@dataclass(frozen=True)
class Settings:
    """The command line, checked."""

    json: Path
    models: tuple[int, ...]
    rest_s: float
    changes: int
    seed: int


class Session:
    """Runs what the settings ask for, on a control plane of its own."""

    def __init__(self, settings: Settings, screen: Screen) -> None:
        self._settings = settings
        self._screen = screen
        self._random = random.Random(settings.seed)
        self._sample: Object = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))

    async def run(self) -> bool:
        """Whether every goal was met. Raises BenchError, NoCluster."""
        points: list[Point] = []
        with tempfile.TemporaryDirectory(prefix="outrider-reconcile-") as folder, ControlPlane(get_assets()) as plane:
            work = Path(folder)
            kubectl = Kubectl(plane.kubectl, plane.kubeconfig, work)
            install(kubectl)
            rights = token(kubectl, SYSTEM, "outrider-operator")
            for models in self._settings.models:
                operator = Operator(plane.kubeconfig_for(rights, work / "kubeconfig"), work / f"operator-{models}.log")
                self._screen.say(f"{models} models")
                server = Server(plane.kubeconfig)
                operator.start()
                try:
                    async with asyncio.timeout(LONGEST_S + self._settings.rest_s):
                        points.append(await self._measure(models, operator, server))
                except TimeoutError:
                    raise BenchError(f"{models} models: not done in time; see {operator.log}") from None
                finally:
                    operator.end()
                    await server.close()
                content = build_report(points, machine.describe(), self._settings.rest_s)
                write_json(self._settings.json, content)
        show(self._screen.console, content)
        return all(goal["met"] for goal in content["goals"])

    async def _measure(self, models: int, operator: Operator, server: Server) -> Point:
        namespace = f"fleet-{models}"
        await server.create_namespace(namespace)
        wanted = [self._model(namespace, index) for index in range(models)]
        objects = models * self._children(wanted[0])
        async with self._watching(server, namespace) as seen:
            await _until_leading(operator)
            process = psutil.Process(_pid(operator))
            before = operator.writes
            started_s = time.monotonic()
            await server.create_models(wanted)
            await seen.until(objects)
            children_s = time.monotonic() - started_s
            self._screen.say(f"{objects} objects after {children_s:.1f} s")
            written = await self._until_quiet(operator) - before
            rest = await self._rest(operator, process)
            updates = [await self._change(server, seen, namespace, models) for _ in range(self._settings.changes)]
        point = Point(
            resources=models,
            objects=objects,
            children_s=children_s,
            writes=written,
            update_p50_s=median(updates),
            **rest,
        )
        self._screen.say("taking them away")
        await server.delete_namespace(namespace)
        return point

    @contextlib.asynccontextmanager
    async def _watching(self, server: Server, namespace: str) -> AsyncIterator[Seen]:
        seen = Seen()
        async with contextlib.AsyncExitStack() as watches:
            for kind in KINDS:
                await watches.enter_async_context(server.watch(namespace, kind, seen))
            yield seen

    async def _until_quiet(self, operator: Operator) -> float:
        """The operator's writes, when none has come for a while."""
        writes = -1.0
        while operator.writes != writes:
            writes = operator.writes
            await asyncio.sleep(QUIET_S)
        return writes

    async def _rest(self, operator: Operator, process: psutil.Process) -> dict[str, float]:
        self._screen.say(f"at rest for {duration(self._settings.rest_s)}")
        writes, cpu_s, started_s = operator.writes, _cpu_s(process), time.monotonic()
        await asyncio.sleep(self._settings.rest_s)
        return {
            "writes_at_rest": operator.writes - writes,
            "cpu_share": (_cpu_s(process) - cpu_s) / (time.monotonic() - started_s),
            "rss_mb": process.memory_info().rss / 1e6,
        }

    async def _change(self, server: Server, seen: Seen, namespace: str, models: int) -> float:
        """From one model's change sent to its Deployment changed."""
        index = self._random.randrange(models)
        name = _name(index)
        target = f"{name}-target"
        generation = seen.generation("deployments", target)
        started_s = time.monotonic()
        await server.change_model(namespace, name, {"target": {"maxNumSeqs": 8 + generation}})
        return await seen.until_generation("deployments", target, generation + 1) - started_s

    def _model(self, namespace: str, index: int) -> Object:
        return {**self._sample, "metadata": {"name": _name(index), "namespace": namespace}}

    @staticmethod
    def _children(model: Object) -> int:
        return len(build(SpeculativeModel.model_validate(model), Platform(optional_apis=frozenset())))


async def _until_leading(operator: Operator) -> None:
    for _ in range(600):
        if operator.leads:
            return
        _pid(operator)
        await asyncio.sleep(0.1)
    raise BenchError(f"the operator does not come to lead; see {operator.log}")


def _name(index: int) -> str:
    return f"model-{index:04}"


def _pid(operator: Operator) -> int:
    if operator.process is None or operator.process.poll() is not None:
        raise BenchError(f"the operator has ended; see {operator.log}")
    return operator.process.pid


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
