"""/health, /ready and /metrics of a role that has no other HTTP."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def probes_app(
    model: str, registry: CollectorRegistry, healthy: Callable[[], bool], ready: Callable[[], bool]
) -> Starlette:
    """healthy: whether the process can go on; ready: whether it is to be given something to do."""

    async def health(_: Request) -> Response:
        ok = healthy()
        return JSONResponse({"status": "ok" if ok else "failed", "model": model}, 200 if ok else 503)

    async def get_ready(_: Request) -> Response:
        ok = ready()
        return JSONResponse({"ready": ok}, 200 if ok else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/health", health), Route("/ready", get_ready), Route("/metrics", metrics)])
