"""/health, /ready and /metrics of a role that has no other HTTP."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def probes_app(model: str, registry: CollectorRegistry, ready: Callable[[], bool]) -> Starlette:
    async def health(_: Request) -> Response:
        ok = ready()
        return JSONResponse({"status": "ok" if ok else "failed", "model": model}, 200 if ok else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/health", health), Route("/ready", health), Route("/metrics", metrics)])
